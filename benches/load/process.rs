//! The processes that are measured, and what the system tells of them in `/proc`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ici_scim::clock::Stopwatch;

use crate::drive::{Target, pause};

/// Microseconds of one tick in `/proc/PID/stat`: Linux shows user space 100 ticks a second on every machine.
const TICK_US: u64 = 10_000;
/// How often the log is looked at until the process listens.
const LOOK: Duration = Duration::from_millis(2);
/// How long a process may take to listen.
const START_MAX: Duration = Duration::from_secs(120);

/// The release binary with its configuration, data and log in one folder; or one of the floors that answer by warp
/// alone. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The time from its start until it listened.
    pub(crate) listened_after: Duration,
}

impl Process {
    /// Starts the server in a folder that has a `tenants.toml`. Its log, a JSON line for each request as in
    /// service, goes to a file in a folder of its own: the server watches the one with the configuration.
    pub(crate) fn server(folder: &Path) -> Result<Process> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ici-scim"));
        for name in ["CONFIG", "DATA_DIR", "PUBLIC_URL", "LISTEN", "LOG", "LOG_FORMAT"] {
            command.env_remove(format!("ICI_SCIM_{name}"));
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(folder.join("tenants.toml"));
        let logs = folder.join("log");
        fs::create_dir_all(&logs)?;
        Process::start(command, &logs.join("server.log"))
    }

    /// Starts the bare warp route, which is this program with another argument.
    pub(crate) fn bare_route(answers: &Path) -> Result<Process> {
        Process::floor("bare-route", answers)
    }

    /// Starts the same route, served by the server's own loops.
    pub(crate) fn own_loops(answers: &Path) -> Result<Process> {
        Process::floor("own-loops", answers)
    }

    fn floor(name: &str, answers: &Path) -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("--{name}")).arg(answers);
        Process::start(command, &answers.join(format!("{name}.log")))
    }

    fn start(mut command: Command, log: &Path) -> Result<Process> {
        let stopwatch = Stopwatch::start();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut process =
            Process { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), listened_after: Duration::ZERO };
        while stopwatch.elapsed() < START_MAX {
            if let Some(address) = address_in(&fs::read_to_string(log)?) {
                process.address = address;
                process.listened_after = stopwatch.elapsed();
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                bail!("the process ended ({status}): {}", fs::read_to_string(log)?.trim());
            }
            pause(LOOK);
        }
        bail!("the process does not listen after {} s", START_MAX.as_secs())
    }

    /// To put it under load.
    pub(crate) fn target(&self) -> Target {
        Target { address: self.address, pid: self.child.id() }
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        memory_mib(self.child.id(), "VmRSS:")
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> Result<f64> {
        status_number(self.child.id(), "Threads:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The files are thrown away; there is nothing to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line that all of them write when they listen.
fn address_in(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("\"address\":\"")?;
    rest.split_once('"')?.0.parse().ok()
}

/// The most resident memory since [`forget_peak`], in MiB.
pub(crate) fn peak_mib(pid: u32) -> Result<f64> {
    memory_mib(pid, "VmHWM:")
}

/// Makes the present resident memory the peak.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    // proc(5): 5 resets the peak resident set size.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the peak of memory")
}

fn memory_mib(pid: u32, key: &str) -> Result<f64> {
    Ok(status_number(pid, key)? / 1024.0)
}

fn status_number(pid: u32, key: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).with_context(|| format!("{key} is not in /proc/{pid}/status"))
}

/// CPU time that a process has used, all threads, in user and system mode, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name of the program stands in parentheses and may hold anything; fields are counted behind it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    ensure!(ticks.len() == 2, "/proc/PID/stat has no CPU times");
    Ok(ticks.iter().sum::<u64>() * TICK_US)
}

/// The bytes of a tenant's file, with what is still in its log.
pub(crate) fn file_bytes(file: &Path) -> u64 {
    ["", "-wal"]
        .iter()
        .filter_map(|suffix| fs::metadata(PathBuf::from(format!("{}{suffix}", file.display()))).ok())
        .map(|metadata| metadata.len())
        .sum()
}

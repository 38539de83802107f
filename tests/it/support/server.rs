//! The real binary as a child process: started on a free port, its log collected, stopped or killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, mpsc};
use std::thread;

use ici_scim::clock::Stopwatch;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Client, Config, PATIENCE, TenantConfig, Token};

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ici-scim");

/// Runs a server until stdin is closed, then stops it and removes its folder. Ctrl-C must not end it before that,
/// and what it says about its children has no reader any more.
const GUARD: &str = r#""$@" & server=$!
trap '' INT
exec 2>/dev/null
cat >/dev/null
kill $server
wait $server
rm -r "$FOLDER""#;

/// What the server has logged so far, line by line.
#[derive(Default)]
pub(crate) struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    /// Collects what a process writes to its stderr.
    pub(crate) fn of(child: &mut Child) -> Arc<Log> {
        let log = Arc::new(Log::default());
        log.collect(child.stderr.take().unwrap());
        log
    }

    fn collect(self: &Arc<Log>, stderr: impl std::io::Read + Send + 'static) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lines.lock().unwrap().push(line);
                log.grown.notify_all();
            }
        });
    }

    /// Everything so far, as one text.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line that fulfils the condition, past or to come.
    ///
    /// # Panics
    /// With the whole log, when there is none within [`PATIENCE`].
    pub(crate) fn wait_for<T>(&self, what: &str, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let watch = Stopwatch::start();
        let mut lines = self.lines.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(it) = lines[seen..].iter().find_map(|line| found(line)) {
                return it;
            }
            seen = lines.len();
            let left = PATIENCE.saturating_sub(watch.elapsed());
            assert!(!left.is_zero(), "the log never told: {what}\n{}", lines.join("\n"));
            lines = self.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for an event with this message.
    pub(crate) fn wait_for_message(&self, message: &str) -> Value {
        self.wait_for(message, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            event["message"].as_str()?.contains(message).then_some(event)
        })
    }

    /// The lines of requests: those with a route or a status.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event.get("status").is_some() && event.get("request_id").is_some()).collect()
    }
}

/// A running server with a folder of its own.
pub(crate) struct Server {
    folder: PathBuf,
    /// Removes the folder; the shared server's is removed by its guard.
    _folder: Option<TempDir>,
    address: SocketAddr,
    log: Arc<Log>,
    /// None once somebody else waits for its end.
    child: Option<Child>,
}

impl Server {
    /// Starts a server with this configuration and waits until it answers.
    pub(crate) fn start(config: &Config) -> Server {
        Server::start_with(config, &[])
    }

    /// [`Server::start`], with health and metrics wherever the configuration or the default says.
    pub(crate) fn start_without_ops(config: &Config) -> Server {
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_owned();
        let mut command = Command::new(BINARY);
        clean_environment(&mut command);
        Server::launch(path, Some(folder), config, &mut command)
    }

    /// [`Server::start`] with environment variables.
    pub(crate) fn start_with(config: &Config, environment: &[(&str, &str)]) -> Server {
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_owned();
        let mut command = Command::new(BINARY);
        server_environment(&mut command);
        Server::launch(path, Some(folder), config, command.envs(environment.iter().copied()))
    }

    /// The server that most tests share, each with a tenant of its own; starting one for each would take longer
    /// than the tests. It ends with the test process: a shell holds its reins and notices when our end of a pipe
    /// is closed, since nothing of ours runs after the last test.
    pub(crate) fn shared() -> &'static Server {
        static SHARED: LazyLock<Server> = LazyLock::new(|| {
            let folder = TempDir::new().unwrap().keep();
            let mut command = Command::new("sh");
            server_environment(&mut command);
            command.args(["-c", GUARD, "guard", BINARY]).env("FOLDER", &folder).stdin(Stdio::piped());
            Server::launch(folder, None, &Pool::get().config(), &mut command)
        });
        &SHARED
    }

    fn launch(folder: PathBuf, guard: Option<TempDir>, config: &Config, command: &mut Command) -> Server {
        let config_file = folder.join("tenants.toml");
        std::fs::write(&config_file, config.text()).unwrap();
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config_file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::of(&mut child);
        let listening = log.wait_for_message("listening");
        let address = listening["address"].as_str().unwrap().parse().unwrap();
        Server { folder, _folder: guard, address, log, child: Some(child) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.join("tenants.toml")
    }

    /// The file of a tenant.
    pub(crate) fn tenant_file(&self, tenant: &str) -> PathBuf {
        self.folder.join("data").join(format!("{tenant}.sqlite"))
    }

    /// Puts another configuration in the file's place, the way the commands do it.
    pub(crate) fn write_config(&self, text: &str) {
        let beside = self.folder.join("tenants.toml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.config_file()).unwrap();
    }

    /// A client of a tenant, with the token as Okta's Header Auth template sends it: raw.
    pub(crate) fn client(&self, tenant: &str, token: &Token) -> Client {
        self.client_with(tenant, Some(token.text()))
    }

    /// A client with any Authorization header, or none.
    pub(crate) fn client_with(&self, tenant: &str, authorization: Option<&str>) -> Client {
        Client::new(format!("http://{}/scim/v2/{tenant}", self.address), authorization)
    }

    /// Runs a command of the program on this server's configuration, while it runs.
    pub(crate) fn run<I, S>(&self, arguments: I) -> Output
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(BINARY);
        clean_environment(&mut command);
        command.arg("--config").arg(self.config_file()).args(arguments).output().unwrap()
    }

    /// [`Server::run`], of a command that does its work. Returns its stdout.
    pub(crate) fn run_well<const N: usize>(&self, arguments: [&str; N]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ici-scim {arguments:?}: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The number that the system has given the process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().map(Child::id).unwrap()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().map(Child::id).unwrap();
        send_signal(name, id);
    }

    /// Lets the process have that many files open, connections among them.
    pub(crate) fn limit_open_files(&self, count: u32) {
        let id = self.child.as_ref().map(Child::id).unwrap();
        limit_open_files(id, count);
    }

    /// Bounds the size of every file that the process writes, or takes the bound away: `bytes` or `unlimited`.
    pub(crate) fn limit_file_size(&self, bytes: &str) {
        let id = self.child.as_ref().map(Child::id).unwrap();
        let limit = format!("--fsize={bytes}:");
        let set = Command::new("prlimit").args(["--pid", &id.to_string(), &limit]).status();
        assert!(set.unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn ended(mut self) -> ExitStatus {
        wait(self.child.take().unwrap())
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Asks it to stop, waits until it has, and gives all that it has logged.
    pub(crate) fn stop_and_take_log(self) -> (String, ExitStatus) {
        let log = Arc::clone(&self.log);
        let status = self.stop();
        log.wait_for_message("stopped");
        (log.text(), status)
    }

    /// Ends it without warning and starts another on the same folder.
    pub(crate) fn kill_and_restart(mut self, config: &Config) -> Server {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.restart(config)
    }

    /// Asks it to stop, does `between`, and starts another on the same folder.
    pub(crate) fn stop_and_restart(mut self, config: &Config, between: impl FnOnce()) -> Server {
        self.signal("TERM");
        wait(self.child.take().unwrap());
        between();
        self.restart(config)
    }

    fn restart(mut self, config: &Config) -> Server {
        let guard = self._folder.take();
        let mut command = Command::new(BINARY);
        server_environment(&mut command);
        Server::launch(self.folder.clone(), guard, config, &mut command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for a process to end. Nothing in std waits with a deadline, but a channel does.
fn wait(mut child: Child) -> ExitStatus {
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    match receiver.recv_timeout(PATIENCE) {
        Ok(status) => status.unwrap(),
        Err(_) => {
            send_signal("KILL", id);
            panic!("the process did not end");
        }
    }
}

/// Lets a process have that many files open.
pub(crate) fn limit_open_files(process: u32, count: u32) {
    let limit = format!("--nofile={count}:");
    let set = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status();
    assert!(set.unwrap().success());
}

pub(crate) fn send_signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The person's own settings must not reach the program under test.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ICI_SCIM_") {
            command.env_remove(name);
        }
    }
}

/// A server's environment: health and metrics are on a free port, since many servers run at once.
fn server_environment(command: &mut Command) {
    clean_environment(command);
    command.env("ICI_SCIM_OPS_LISTEN", "127.0.0.1:0");
}

/// Runs the program and gives it the time that a condition has; for commands that should end by themselves.
pub(crate) fn run_to_end(command: &mut Command) -> Output {
    clean_environment(command);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let status = wait(child);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    stdout.read_to_end(&mut out).unwrap();
    stderr.read_to_end(&mut err).unwrap();
    Output { status, stdout: out, stderr: err }
}

/// The tenants of the shared server, each given away once.
struct Pool {
    plain: Vec<(String, Token)>,
    conflicting: Vec<(String, Token)>,
    password_keeping: Vec<(String, Token)>,
    strict: Vec<(String, Token)>,
    entra: Vec<(String, Token)>,
    given: [AtomicUsize; 5],
}

const PLAIN_TENANTS: usize = 320;
const SPECIAL_TENANTS: usize = 12;

impl Pool {
    fn get() -> &'static Pool {
        static POOL: LazyLock<Pool> = LazyLock::new(|| {
            let make = |letter: char, count: usize| {
                (1..=count).map(|number| (format!("{letter}{number:03}"), Token::new("okta"))).collect()
            };
            Pool {
                plain: make('t', PLAIN_TENANTS),
                conflicting: make('c', SPECIAL_TENANTS),
                password_keeping: make('p', SPECIAL_TENANTS),
                strict: make('s', SPECIAL_TENANTS),
                entra: make('e', 2 * SPECIAL_TENANTS),
                given: Default::default(),
            }
        });
        &POOL
    }

    fn config(&self) -> Config {
        let tenant = |(name, token): &(String, Token)| TenantConfig::new(name).token(token);
        // Fewer than there are tenants, so that the suite also shows that closing and opening again loses nothing.
        let mut config = Config::new().limit("open_tenants_max", 48);
        for one in &self.plain {
            config = config.tenant(tenant(one));
        }
        for one in &self.conflicting {
            config = config.tenant(tenant(one).option("on_recreate", "\"conflict\""));
        }
        for one in &self.password_keeping {
            config = config.tenant(tenant(one).option("store_passwords", "true"));
        }
        for one in &self.strict {
            config = config.tenant(tenant(one).option("profile", "\"strict\""));
        }
        for one in &self.entra {
            config = config.tenant(tenant(one).option("profile", "\"entra\""));
        }
        config
    }
}

/// An empty tenant of the shared server, this test's own.
pub(crate) struct Tenant {
    pub(crate) server: &'static Server,
    pub(crate) name: String,
    pub(crate) token: Token,
}

impl Tenant {
    /// A tenant with every option at its default.
    pub(crate) fn fresh() -> Tenant {
        Tenant::take(&Pool::get().plain, 0)
    }

    /// A tenant with `on_recreate = "conflict"`.
    pub(crate) fn conflicting() -> Tenant {
        Tenant::take(&Pool::get().conflicting, 1)
    }

    /// A tenant with `store_passwords = true`.
    pub(crate) fn keeping_passwords() -> Tenant {
        Tenant::take(&Pool::get().password_keeping, 2)
    }

    /// A tenant with `profile = "strict"`.
    pub(crate) fn strict() -> Tenant {
        Tenant::take(&Pool::get().strict, 3)
    }

    /// A tenant with `profile = "entra"`.
    pub(crate) fn entra() -> Tenant {
        Tenant::take(&Pool::get().entra, 4)
    }

    fn take(from: &[(String, Token)], which: usize) -> Tenant {
        let next = Pool::get().given[which].fetch_add(1, Ordering::Relaxed);
        let (name, token) = from.get(next).expect("support::server makes enough tenants").clone();
        Tenant { server: Server::shared(), name, token }
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client(&self.name, &self.token)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.server.tenant_file(&self.name)
    }
}

//! What the system tells of this process, under the names that every Prometheus exporter gives it.

use std::fmt;
use std::fs;

use crate::metrics::{Page, whole};

/// Ticks of the clock in which Linux tells processor time; the same on every machine it runs on (`proc(5)`).
const TICKS_PER_S: f64 = 100.0;

/// Writes what the system tells. What it does not tell (as on systems other than Linux) is left out.
///
/// # Errors
/// When the text cannot be written.
pub(super) fn tell(page: &mut Page<'_>, started_ms: i64) -> fmt::Result {
    page.info(
        "ici_scim_build",
        "Which program this is",
        &[("version", env!("CARGO_PKG_VERSION")), ("commit", crate::version::COMMIT.unwrap_or("unknown"))],
    )?;
    let started = whole(u64::try_from(started_ms).unwrap_or(0)) / 1e3;
    page.gauge("process_start_time_seconds", "When the server began, in seconds since 1970", started)?;
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(processor_seconds) {
        page.counter_of_seconds("process_cpu_seconds", "Processor time, of user and system", seconds)?;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let sizes = [
        ("process_resident_memory_bytes", "Memory that is in use", "VmRSS:", 1024),
        ("process_virtual_memory_bytes", "Address space that is in use", "VmSize:", 1024),
        ("process_threads", "Threads", "Threads:", 1),
    ];
    for (name, help, field, unit) in sizes {
        if let Some(value) = field_of(&status, field) {
            page.gauge(name, help, whole(value * unit))?;
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        let open = u64::try_from(open.count()).unwrap_or(u64::MAX).saturating_sub(1);
        page.gauge("process_open_fds", "Open file descriptors", whole(open))?;
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(most) = field_of(&limits, "Max open files") {
        page.gauge("process_max_fds", "Most open file descriptors", whole(most))?;
    }
    Ok(())
}

/// The first number after a field's name.
fn field_of(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `/proc/self/stat`; the second holds the program's name, in brackets, and may hold anything.
fn processor_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> Option<u64> { fields.next()?.parse().ok() };
    Some(whole(ticks()? + ticks()?) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 950 0 0 0 150 50 0 0 20 0 9 0 1 1 1";
        assert_eq!(processor_seconds(stat), Some(2.0));
        assert_eq!(processor_seconds("nonsense"), None);
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(field_of("VmSize:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(field_of("Max open files            1024    4096  files\n", "Max open files"), Some(1024));
        assert_eq!(field_of("Max open files            unlimited\n", "Max open files"), None);
    }
}

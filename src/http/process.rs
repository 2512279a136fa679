//! CPU time and memory of this process, under the names that Prometheus dashboards expect. Linux only: elsewhere the series
//! are missing.

use std::fs;

/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux, whatever the kernel's own timer does.
const TICKS_PER_SECOND: f64 = 100.0;

/// The series as Prometheus text. Written here since a counter of `metrics` is a whole number, and an idle daemon takes hours
/// for a second of CPU time.
#[must_use]
pub(super) fn render() -> String {
    let read = |file| fs::read_to_string(file).ok();
    let bytes = read("/proc/self/status").and_then(|status| resident_bytes(&status));
    let seconds = read("/proc/self/stat").and_then(|stat| cpu_seconds(&stat));
    let bytes =
        bytes.map(|bytes| family("process_resident_memory_bytes", "gauge", "Resident memory", bytes as f64));
    let seconds = seconds
        .map(|seconds| family("process_cpu_seconds_total", "counter", "CPU time, user and system", seconds));
    bytes.into_iter().chain(seconds).collect()
}

fn family(name: &str, kind: &str, help: &str, value: f64) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
}

/// `VmRSS` of proc(5) `status`, which is in KiB whatever the page size.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 and 15 of proc(5) `stat`. The second field, the program's name, may hold anything but ends with the last `)`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tbday\nVmHWM:\t   31000 kB\nVmRSS:\t   29000 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(29_000 * 1024));
        assert_eq!(resident_bytes("Name:\tbday\n"), None);
    }

    #[test]
    fn cpu_time_is_user_and_system_whatever_the_program_is_called() {
        let stat = "42 (b) R 1 (x) S 1 42 42 0 -1 4194304 9 0 0 0 250 150 0 0 20 0 3 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(cpu_seconds("42"), None);
    }

    #[test]
    fn this_process_has_both() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(resident_bytes(&status).unwrap() > 1 << 20);
        assert!(cpu_seconds(&stat).unwrap() < 3600.0);
    }
}

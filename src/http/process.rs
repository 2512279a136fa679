//! CPU time and memory of this process, under the names that Prometheus dashboards expect.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// Returns the series as Prometheus text. They do not go through `metrics`, whose counters are whole numbers: an idle daemon takes
/// hours to use a second of CPU time.
pub(super) fn render() -> String {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    let mut text = family("process_cpu_seconds_total", "counter", "CPU time, user and system", seconds);
    // Linux only.
    if let Ok(status) = fs::read_to_string("/proc/self/status")
        && let Some(bytes) = resident_bytes(&status)
    {
        text += &family("process_resident_memory_bytes", "gauge", "Resident memory", bytes as f64);
    }
    text
}

fn family(name: &str, kind: &str, help: &str, value: f64) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
}

/// Reads `VmRSS` of proc(5) `status`, which is in KiB.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_in_bytes() {
        let status = "Name:\tbday\nVmHWM:\t   31000 kB\nVmRSS:\t   29000 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(29_000 * 1024));
        assert_eq!(resident_bytes("Name:\tbday\n"), None);
    }

    #[test]
    fn this_process_has_both() {
        let text = render();
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes"] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            let value: f64 = value.trim().parse().expect("a number");
            assert!(value > 0.0, "{text}");
        }
    }
}

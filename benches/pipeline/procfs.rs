//! CPU time and memory of processes, from procfs. Zero on other systems than Linux, and for processes that have ended.

use std::fs;

/// Unit of the times in `/proc/PID/stat`: 100 on all supported architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/PID/stat`; times in ticks.
struct Stat {
    parent: u32,
    /// User and system time.
    own: u64,
    /// User and system time of children that have ended and were waited for.
    ended_children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name, in parentheses, may contain any characters.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

/// Returns the user and system time of all threads of a process.
pub(crate) fn cpu_secs(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.own as f64 / TICKS_PER_SECOND)
}

/// Returns the user and system time of a process and its children, including ended children.
pub(crate) fn family_cpu_secs(pid: u32) -> f64 {
    let Some(parent) = stat(pid) else { return 0.0 };
    let pids = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let children: u64 = pids.filter_map(stat).filter(|stat| stat.parent == pid).map(|child| child.own).sum();
    (parent.own + parent.ended_children + children) as f64 / TICKS_PER_SECOND
}

/// Returns the peak resident memory of a process, in megabytes (10^6 bytes).
pub(crate) fn peak_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0 / 1e6
}

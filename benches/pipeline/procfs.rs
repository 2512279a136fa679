//! CPU time and memory of processes, as Linux tells them. Elsewhere, and of a process that is gone: zero.

use std::fs;

/// Of the figures in `/proc/PID/stat`: 100 on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// One line of `/proc/PID/stat`, as far as it matters here.
struct Stat {
    parent: u32,
    /// User and system time.
    own: u64,
    /// The same of the children that have ended.
    ended_children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it, in parentheses, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

/// User and system time of a process, all threads.
pub(crate) fn cpu_secs(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.own as f64 / TICKS_PER_SECOND)
}

/// The same of a process and its children, those that have ended included.
pub(crate) fn family_cpu_secs(pid: u32) -> f64 {
    let Some(parent) = stat(pid) else { return 0.0 };
    let pids = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let children: u64 = pids.filter_map(stat).filter(|stat| stat.parent == pid).map(|child| child.own).sum();
    (parent.own + parent.ended_children + children) as f64 / TICKS_PER_SECOND
}

/// The most memory that a process has had in use, in megabytes (10^6 bytes).
pub(crate) fn peak_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0 / 1e6
}

//! Prints the results as tables.

use super::api::Api;
use super::console::{Console, PageTime};
use super::idle::Idle;
use super::large::Large;
use super::load::Verdict;
use super::pipeline::Run;
use super::recovery::Recovery;

pub(crate) fn print(runs: &[Run], idles: &[Idle], apis: &[Api], larges: &[Large]) {
    if !runs.is_empty() {
        // The four columns of processes are microseconds of CPU time per event; `calls` are SQS calls per event.
        println!(
            "\n{:<15} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7}  {:>7} {:>7} {:>5} {:>5} {:>6} {:>5} {:>5}  exactly once, limits",
            "scenario",
            "events",
            "tick ms",
            "per s",
            "p50 ms",
            "p99 ms",
            "last ms",
            "bday us",
            "pg us",
            "sqs",
            "recv",
            "CPU s",
            "MB",
            "calls",
        );
    }
    for run in runs {
        let each = |total: f64| total / f64::from(run.events);
        let us = |secs: f64| each(secs * 1e6);
        println!(
            "{:<15} {:>7} {:>8.0} {:>7.0} {:>7.0} {:>7.0} {:>7.0}  {:>7.1} {:>7.1} {:>5.1} {:>5.1} {:>6.2} {:>5.1} {:>5.2}  {}{}",
            run.scenario,
            run.events,
            run.tick_ms,
            run.per_second,
            run.p50_ms,
            run.p99_ms,
            run.last_ms,
            us(run.cpu.daemon),
            us(run.cpu.postgres),
            us(run.cpu.sqs),
            us(run.cpu.receiver),
            run.cpu.daemon,
            run.daemon_mb,
            each(run.sqs_calls as f64),
            exactness(run),
            limits(&run.limits),
        );
        if let Some(bare) = run.bare {
            println!(
                "{:<15} {:.2} of the rate without bookkeeping ({:.0}/s; us of CPU: {:.1} in the process, {:.1} in PostgreSQL)",
                "",
                run.per_second / bare.per_second,
                bare.per_second,
                us(bare.cpu.daemon),
                us(bare.cpu.postgres),
            );
        }
        for channel in &run.channels {
            println!(
                "{:<15} {:>7} {:>8} {:>7.0} {:>7.0} {:>7.0} {:>7.0}",
                format!("  {}", channel.channel.as_str()),
                channel.events,
                "",
                channel.per_second,
                channel.p50_ms,
                channel.p99_ms,
                channel.last_ms,
            );
        }
        if run.scenario == "million" {
            println!(
                "{:<15} first 2xx {:.0} ms after the start; second tenth {:.0}/s, ninth {:.0}/s: {:.2}",
                "",
                run.first_ms,
                run.second_per_second,
                run.ninth_per_second,
                run.ninth_per_second / run.second_per_second,
            );
        }
    }
    for idle in idles {
        for (users, us) in &idle.ticks_us {
            println!("a tick with nothing due, {users:>7} users: {us:>6.0} us");
        }
        println!("a tick with nothing due{}", limits(&idle.limits));
    }
    for api in apis {
        println!(
            "\n{:<15} {:>9} {:>7} {:>7} {:>7} {:>7}  {:>7} {:>7}",
            "50 at once", "users", "per s", "p50 ms", "p99 ms", "slowest", "bday us", "pg us"
        );
        for calls in &api.calls {
            println!(
                "{:<15} {:>9} {:>7.0} {:>7.1} {:>7.1} {:>7.1}  {:>7.0} {:>7.0}",
                calls.request,
                api.users,
                calls.per_second,
                calls.p50_ms,
                calls.p99_ms,
                calls.slowest_ms,
                calls.daemon_us,
                calls.postgres_us,
            );
        }
        println!("{}", limits(&api.limits).trim_start_matches("; "));
    }
    larges.iter().for_each(print_large);
}

fn print_large(large: &Large) {
    println!(
        "\n{:<42} {:>12} {:>12} {:>6}",
        format!("{} users, {} events", large.users, large.events),
        "large",
        "small",
        "ratio"
    );
    for figure in &large.figures {
        println!("{:<42} {:>12.1} {:>12.1} {:>6.2}", figure.what, figure.large, figure.small, figure.ratio());
    }
    println!("{}", limits(&large.limits).trim_start_matches("; "));
}

pub(crate) fn print_recoveries(recoveries: &[Recovery]) {
    for recovery in recoveries {
        println!(
            "\nall accepted after a worker was killed with 1,000 in flight: {:5.1} s\n\
             all accepted after a scheduler was killed during 30,000 claims: {:5.1} s{}",
            recovery.worker_secs,
            recovery.scheduler_secs,
            limits(&recovery.limits),
        );
    }
}

pub(crate) fn print_consoles(consoles: &[Console]) {
    for console in consoles {
        println!(
            "\n{:<55} {:>9} {:>10} {:>7}",
            format!("{} users, {} events", console.users, console.events),
            "first ms",
            "median ms",
            "bytes"
        );
        for page in &console.pages {
            let PageTime { page, first_ms, median_ms, bytes } = page;
            println!("{page:<55} {first_ms:>9.1} {median_ms:>10.1} {bytes:>7}");
        }
        println!("{}", limits(&console.limits).trim_start_matches("; "));
    }
}

fn exactness(run: &Run) -> String {
    let judgement = run.judgement;
    if judgement.is_exact() {
        return "yes".to_owned();
    }
    format!(
        "NO: {} missing, {} repeated, {} wrong, {} open",
        judgement.missing, judgement.repeated, judgement.wrong, judgement.open
    )
}

fn limits(limits: &[Verdict]) -> String {
    let text = |verdict: &Verdict| {
        let kept = if verdict.met { "kept" } else { "MISSED" };
        format!("; {} {kept}", verdict.limit)
    };
    limits.iter().map(text).collect::<Vec<_>>().concat()
}

//! Logs and metrics of a process.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

mod zero;

/// From when it could be sent to 2xx: a greeting is on time within the second, late within the hour, and all is lost after two days.
const LATENESS_SECS: [f64; 16] = [
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    4.0 * 3600.0,
    12.0 * 3600.0,
    86_400.0,
    172_800.0,
];
const TICK_SECS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// Logs of a daemon: to standard output, JSON unless it is a terminal.
///
/// # Errors
/// When `log.level` cannot be read.
pub fn log_for_daemon(log: &Log) -> anyhow::Result<()> {
    let filter = filter(&log.level)?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stdout().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        builder.with_ansi(colours(std::io::stdout().is_terminal())).with_target(false).init();
    }
    Ok(())
}

/// Logs of a command, from `level` on: to standard error, so that standard output is the answer alone.
pub fn log_for_command(level: &str) {
    let filter = EnvFilter::try_from_env("BDAY_LOG").unwrap_or_else(|_| {
        // A command may take its time over a large table.
        EnvFilter::new(format!("{level},sqlx=error"))
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours(std::io::stderr().is_terminal()))
        .with_target(false)
        .without_time()
        .init();
}

/// Colours are for a terminal, and not where `NO_COLOR` is set.
pub(crate) fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// What libraries say below a warning is of no use to an operator, unless he asks for it by module.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let quiet = "sqlx=warn,tokio_cron_scheduler=warn";
    EnvFilter::try_new(format!("{quiet},{level}"))
        .with_context(|| format!("log.level is {level:?}: use error, warn, info, debug or trace"))
}

/// Collects metrics in this process, to be rendered at `/metrics`. `kinds` are the occasions that are configured.
///
/// # Errors
/// When there is a recorder already.
pub fn collect_metrics<'a>(kinds: impl IntoIterator<Item = &'a str>) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("bday_lateness_seconds".to_owned()), &LATENESS_SECS)?
        .set_buckets_for_metric(Matcher::Full("bday_tick_duration_seconds".to_owned()), &TICK_SECS)?
        .install_recorder()?;
    describe();
    metrics::gauge!("bday_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    zero::counters(kinds);
    Ok(handle)
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("bday_ticks_total", "Scheduler passes, by outcome");
    describe_histogram!("bday_tick_duration_seconds", "Time of a scheduler pass");
    describe_gauge!("bday_tick_age_seconds", "Since the ticker last made progress");
    describe_gauge!("bday_receive_age_seconds", "Since the workers last made progress");
    describe_counter!("bday_events_planned_total", "Events written ahead");
    describe_counter!("bday_events_queued_total", "Events claimed, and packed into the outbox");
    describe_counter!(
        "bday_send_failed_total",
        "Events whose pack the queue did not confirm; it is sent again"
    );
    describe_counter!("bday_events_delivered_total", "Events that a receiver accepted, by kind");
    describe_counter!("bday_attempts_failed_total", "Attempts that failed, by reason");
    describe_counter!("bday_events_dead_total", "Events given up, by reason");
    describe_counter!("bday_events_skipped_total", "Events never sent, by reason");
    describe_counter!("bday_events_cancelled_total", "Events no longer wanted, by reason");
    describe_counter!("bday_events_moved_by_zone_data_total", "Pending events that new zone data moved");
    describe_counter!("bday_swept_total", "Events whose lease expired, by outcome");
    describe_counter!("bday_packs_resent_total", "Packs that the queue lost, and that are sent again");
    describe_counter!("bday_events_forgotten_total", "Finished events deleted after their retention");
    describe_gauge!("bday_unreadable_users", "Users whom this version cannot read, and so not plan");
    describe_gauge!("bday_plan_age_seconds", "Since the planner last made progress");
    describe_counter!("bday_messages_received_total", "Messages that the queue handed out");
    describe_counter!(
        "bday_events_deferred_total",
        "Events left in the outbox, because another transaction held them or their kind is unknown here"
    );
    describe_counter!("bday_messages_unreadable_total", "Messages that are none of ours, now dead letters");
    describe_counter!("bday_events_redriven_total", "Dead events that were sent again");
    describe_counter!(
        "bday_dead_letters_deleted_total",
        "Messages deleted from the dead-letter queue, by redrive or purge"
    );
    describe_counter!("bday_leases_extended_total", "Leases that the heartbeat extended");
    describe_counter!("bday_leases_lost_total", "Outcomes that came after the lease was lost");
    describe_gauge!("bday_queue_messages", "Messages (packs of events) in the queue, by state");
    describe_gauge!("bday_dead_letters", "Messages in the dead-letter queue");
    describe_gauge!(
        "bday_events_waiting",
        "Due events that wait for a worker: pending (counted up to 100,000) or queued"
    );
    describe_gauge!("bday_events_delivering", "Events that workers have leased");
    describe_gauge!(
        "bday_events_waiting_oldest_age_seconds",
        "How long the oldest event waits that is due, or queued"
    );
    describe_histogram!(
        "bday_lateness_seconds",
        "From when it could be sent (due, or learned after that, or the end of a pause) to 2xx"
    );
    describe_gauge!("bday_in_flight", "Requests in flight");
    describe_gauge!("bday_breaker_open", "Breaker: 0 closed, 0.5 ramping up, 1 open");
    describe_gauge!("bday_paused", "Whether sending is paused: 0 or 1");
    describe_gauge!("bday_build_info", "1; the version is a label");
    describe_counter!("bday_api_refused_total", "Writes by API that were refused, by status");
    describe_counter!("bday_source_failures_total", "Failed fetches of values that live elsewhere");
    describe_gauge!("bday_clock_offset_seconds", "Our clock less the database's");
}

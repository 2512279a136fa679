//! Logs, metrics and traces of a process.

mod describe;
#[cfg_attr(not(feature = "otlp"), path = "without_otlp.rs")]
mod otlp;
mod zero;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
use crate::model::ChannelName;

pub(super) use otlp::TraceExport;

/// A greeting is on time within a second and late after an hour; events are skipped after `late.max_secs`, two days.
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

/// Initialises the log of a daemon: to standard output, by default JSON unless it is a terminal.
pub fn log_for_daemon(log: &LogConfig) -> anyhow::Result<()> {
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

/// Initialises the log of a command: to standard error, because standard output is for the result.
pub fn log_for_command(level: &str) {
    let filter = EnvFilter::try_from_env("BDAY_LOG").unwrap_or_else(|_| {
        // sqlx warns of slow statements, which are normal in commands that read large tables.
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

/// Returns whether to print colours: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Libraries log warnings and errors only, unless `level` names their module.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let quiet = "sqlx=warn,tokio_cron_scheduler=warn";
    EnvFilter::try_new(format!("{quiet},{level}"))
        .with_context(|| format!("log.level is {level:?}: use error, warn, info, debug or trace"))
}

/// Installs the recorder of metrics. Fails if the process has one already.
pub fn collect_metrics<'a>(
    kinds: impl IntoIterator<Item = &'a str>,
    channels: &BTreeSet<ChannelName>,
) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("bday_lateness_seconds".to_owned()), &LATENESS_SECS)?
        .set_buckets_for_metric(Matcher::Full("bday_tick_duration_seconds".to_owned()), &TICK_SECS)?
        .install_recorder()?;
    describe::all();
    metrics::gauge!("bday_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    zero::counters(kinds, channels);
    Ok(handle)
}

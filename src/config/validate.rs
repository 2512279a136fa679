//! Ranges, and values that contradict each other. Needs neither the network nor files.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Config, ConfigError, KindConfig, LogConfig, QueueConfig, QueueKind, RetryConfig, WebhookConfig};
use crate::calendar::format_count;
use crate::calendar::text::expected;
use crate::model::ChannelName;

/// Time between the deadline of a request and the end of its lease, to record the outcome.
const RECORD_MARGIN: Duration = Duration::from_secs(5);
/// Shorter than the maximum of `late.max_secs`.
const MAX_WAIT: Duration = Duration::from_hours(7 * 24);
/// Limit of SQS.
const MAX_VISIBILITY: Duration = Duration::from_hours(12);
/// Limit of SQS.
const MAX_POLL_WAIT: Duration = Duration::from_secs(20);

impl Config {
    pub fn validate(&self) -> Result<(), ConfigError> {
        let errors = [
            connect_errors(&self.webhook),
            self.timeout_errors(),
            queue_errors(&self.queue),
            retry_errors(&self.retry),
            self.range_errors(),
            log_errors(&self.log),
            kind_errors(&self.kinds),
            self.compile_messages().err().unwrap_or_default(),
            self.webhook.secret_errors(),
            self.channels.slack.errors(),
            self.console.errors(),
            self.database.contradictions(),
            self.mail_errors(),
            self.missing_features(),
            self.telephone_url_errors(),
            self.traces.errors(),
        ]
        .concat();
        if errors.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(errors)) }
    }

    fn range_errors(&self) -> Vec<String> {
        let ranges = [
            ("worker.max_in_flight", u64::from(self.worker.max_in_flight), 1, 100_000),
            ("database.max_connections", u64::from(self.database.max_connections), 4, 1000),
            ("database.acquire_timeout_secs", self.database.acquire_timeout.as_secs(), 1, 600),
            ("database.statement_timeout_secs", self.database.statement_timeout.as_secs(), 1, 3600),
            ("retry.max_attempts", u64::from(self.retry.max_attempts), 1, 100),
            ("retention.events_days", u64::from(self.retention.events_days), 400, 36_500),
            ("retention.audit_days", u64::from(self.retention.audit_days), 1, 3650),
            ("plan.horizon_secs", self.plan.horizon.as_secs(), 0, 30 * 86_400),
            ("late.max_secs", self.late.max.as_secs(), 60, 30 * 86_400),
            ("worker.drain_secs", self.worker.drain.as_secs(), 0, 3600),
            ("source.refresh_secs", self.source.refresh.as_secs(), 1, 86_400),
            ("http.max_connections", u64::from(self.http.max_connections), 1, 65_536),
            ("http.head_timeout_secs", self.http.head_timeout.as_secs(), 1, 600),
            ("http.request_timeout_secs", self.http.request_timeout.as_secs(), 1, 600),
        ];
        unmet(ranges.map(|(key, value, min, max)| {
            ((min..=max).contains(&value), format!("{key} is {value}: it must be {min} to {max}"))
        }))
    }

    /// Returns an error for each channel in use whose requests could outlast their lease.
    fn timeout_errors(&self) -> Vec<String> {
        let lease = self.queue.visibility;
        unmet(self.used_channels().into_iter().map(|channel| {
            let timeout = self.channel_limits(channel).timeout;
            let error = format!(
                "{} is {}, queue.visibility_secs is {}: the timeout must be 1 or more, and {} s less than the visibility, or \
                 other workers would repeat requests in flight",
                timeout_key(channel),
                timeout.as_secs(),
                lease.as_secs(),
                RECORD_MARGIN.as_secs()
            );
            (!timeout.is_zero() && timeout.saturating_add(RECORD_MARGIN) <= lease, error)
        }))
    }

    /// Returns a warning if `worker.drain_secs` is so short that a stop aborts requests that may have been accepted.
    #[must_use]
    pub fn short_drain(&self) -> Option<String> {
        let drain = self.worker.drain;
        let timeout_of = |channel: &ChannelName| self.channel_limits(*channel).timeout;
        let slowest = self.used_channels().into_iter().max_by_key(timeout_of)?;
        let timeout = timeout_of(&slowest);
        (drain < timeout.saturating_add(RECORD_MARGIN)).then(|| {
            format!(
                "worker.drain_secs is {}, {} is {}: a stop aborts requests that may have been accepted; raise \
                 worker.drain_secs to {} or more, or lower the timeout",
                drain.as_secs(),
                timeout_key(slowest),
                timeout.as_secs(),
                timeout.saturating_add(RECORD_MARGIN).as_secs()
            )
        })
    }
}

/// Returns the errors of the conditions that do not hold.
fn unmet(conditions: impl IntoIterator<Item = (bool, String)>) -> Vec<String> {
    conditions.into_iter().filter(|(holds, _)| !holds).map(|(_, error)| error).collect()
}

fn timeout_key(channel: ChannelName) -> String {
    let section = if channel == ChannelName::Webhook { "" } else { "channels." };
    format!("{section}{channel}.timeout_secs")
}

fn connect_errors(webhook: &WebhookConfig) -> Vec<String> {
    let (timeout, connect) = (webhook.timeout, webhook.connect_timeout);
    unmet([(
        !connect.is_zero() && connect <= timeout,
        format!(
            "webhook.connect_timeout_secs is {}: it must be 1 to webhook.timeout_secs ({})",
            connect.as_secs(),
            timeout.as_secs()
        ),
    )])
}

fn queue_errors(queue: &QueueConfig) -> Vec<String> {
    let url = &queue.sqs.url;
    // Some commands do not use the queue, so an empty URL is accepted here: see `require_queue`.
    let is_url = url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
    let at_most = |key: &str, value: Duration, max: Duration| {
        (value <= max, format!("{key} is {}: the limit of SQS is {}", value.as_secs(), max.as_secs()))
    };
    unmet([
        at_most("queue.visibility_secs", queue.visibility, MAX_VISIBILITY),
        at_most("queue.wait_secs", queue.wait, MAX_POLL_WAIT),
        (
            queue.kind != QueueKind::Sqs || is_url,
            format!(
                "queue.sqs.url is {url:?}: give a URL such as https://sqs.eu-central-1.amazonaws.com/123456789012/bday"
            ),
        ),
    ])
}

fn retry_errors(retry: &RetryConfig) -> Vec<String> {
    let (waits, attempts) = (&retry.schedule, retry.max_attempts);
    let too_few = (
        waits.len() + 1 >= attempts as usize,
        format!(
            "retry.schedule_secs has {}, retry.max_attempts is {attempts}: give a wait for each attempt but the last",
            format_count(waits.len(), "wait", "waits")
        ),
    );
    let too_long = waits.iter().map(|wait| {
        let max = MAX_WAIT.as_secs();
        let error = format!("retry.schedule_secs has {}: it must be at most {max} (a week)", wait.as_secs());
        (*wait <= MAX_WAIT, error)
    });
    unmet(std::iter::once(too_few).chain(too_long))
}

fn log_errors(log: &LogConfig) -> Vec<String> {
    let error = format!(
        "log.level is {:?}: use error, warn, info, debug or trace, also by module, as in \
         info,bday::pipeline::worker=debug",
        log.level
    );
    unmet([(is_log_level(&log.level), error)])
}

fn kind_errors(kinds: &BTreeMap<String, KindConfig>) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, kind) in kinds {
        if !is_kind_name(name) {
            errors.push(format!(
                "kinds.{name}: the name of a kind is 1 to 40 lower-case letters, digits and underscores, and begins with a \
                 letter"
            ));
        }
        errors.extend(channel_errors(name, &kind.channels));
    }
    errors
}

fn channel_errors(kind: &str, channels: &[ChannelName]) -> Option<String> {
    if channels.is_empty() {
        let names = expected(&ChannelName::ALL.map(ChannelName::as_str));
        return Some(format!("kinds.{kind}.channels is empty: {names}"));
    }
    let twice = (1..channels.len()).find(|at| channels[..*at].contains(&channels[*at]))?;
    Some(format!("kinds.{kind}.channels has {} twice: remove one", channels[twice]))
}

/// Returns whether each part of the list is a level, or a module and its level. The filter itself accepts any word as a
/// module, and would then drop the lines of all other modules.
fn is_log_level(text: &str) -> bool {
    text.split(',').all(|part| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(level.trim()))
    })
}

fn is_kind_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

//! Checks that the types cannot make: ranges, and values that contradict each other.

use std::collections::BTreeMap;

use super::{Config, ConfigError, KindConfig, Log, Queue, QueueKind, Retry, Webhook};
use crate::pipeline::channel::Template;

/// A request must end this long before its lease does, so that its outcome can be recorded.
const MARGIN_SECS: u64 = 5;
/// A wait between two attempts must end within the longest `late.max_secs`.
const MAX_WAIT_SECS: u64 = 7 * 86_400;
/// SQS refuses a longer visibility.
const MAX_VISIBILITY_SECS: u64 = 12 * 60 * 60;

impl Config {
    /// Checks everything that needs neither the network nor files.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let errors = [
            requests(&self.webhook, &self.queue),
            queue(&self.queue),
            retry(&self.retry),
            self.out_of_range(),
            log(&self.log),
            kinds(&self.kinds),
            self.webhook.wrong_secrets(),
            self.database.contradictions(),
            self.missing_features(),
        ]
        .concat();
        if errors.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(errors)) }
    }

    fn out_of_range(&self) -> Vec<String> {
        let ranges = [
            ("worker.max_in_flight", u64::from(self.worker.max_in_flight), 1, 100_000),
            ("database.max_connections", u64::from(self.database.max_connections), 4, 1000),
            ("database.acquire_timeout_secs", self.database.acquire_timeout_secs, 1, 600),
            ("database.statement_timeout_secs", self.database.statement_timeout_secs, 1, 3600),
            ("retry.max_attempts", u64::from(self.retry.max_attempts), 1, 100),
            ("retention.events_days", u64::from(self.retention.events_days), 400, 36_500),
            ("retention.audit_days", u64::from(self.retention.audit_days), 1, 3650),
            ("plan.horizon_secs", self.plan.horizon_secs, 0, 30 * 86_400),
            ("late.max_secs", self.late.max_secs, 60, 30 * 86_400),
            ("worker.drain_secs", self.worker.drain_secs, 0, 3600),
            ("source.refresh_secs", self.source.refresh_secs, 1, 86_400),
            ("http.max_connections", u64::from(self.http.max_connections), 1, 65_536),
            ("http.head_timeout_secs", self.http.head_timeout_secs, 1, 600),
            ("http.request_timeout_secs", self.http.request_timeout_secs, 1, 600),
        ];
        unmet(ranges.map(|(key, value, least, most)| {
            ((least..=most).contains(&value), format!("{key} is {value}: it must be {least} to {most}"))
        }))
    }

    /// The warning for a `worker.drain_secs` so short that each stop interrupts requests that the receiver may have
    /// accepted, and sends them again.
    #[must_use]
    pub fn short_drain(&self) -> Option<String> {
        let (drain, timeout) = (self.worker.drain_secs, self.webhook.timeout_secs);
        let needed = timeout.saturating_add(MARGIN_SECS);
        (drain < needed).then(|| {
            format!(
                "worker.drain_secs is {drain}, webhook.timeout_secs is {timeout}: a stop breaks off requests that the \
                 receiver may have accepted, and they are sent again"
            )
        })
    }
}

/// The errors of the conditions that do not hold.
fn unmet(conditions: impl IntoIterator<Item = (bool, String)>) -> Vec<String> {
    conditions.into_iter().filter(|(holds, _)| !holds).map(|(_, error)| error).collect()
}

fn requests(webhook: &Webhook, queue: &Queue) -> Vec<String> {
    let (timeout, connect, lease) =
        (webhook.timeout_secs, webhook.connect_timeout_secs, queue.visibility_secs);
    unmet([
        (
            timeout > 0 && timeout.saturating_add(MARGIN_SECS) <= lease,
            format!(
                "webhook.timeout_secs is {timeout}, queue.visibility_secs is {lease}: a request must end {MARGIN_SECS} s \
                 before its lease, or it would be sent twice; lower the one or raise the other"
            ),
        ),
        (
            (1..=timeout).contains(&connect),
            format!(
                "webhook.connect_timeout_secs is {connect}: it must be at least 1 and not over webhook.timeout_secs \
                 ({timeout})"
            ),
        ),
    ])
}

fn queue(queue: &Queue) -> Vec<String> {
    let (visibility, wait, url) = (queue.visibility_secs, queue.wait_secs, &queue.sqs.url);
    // Only some commands need the queue, so an empty URL is no error here: see `require_queue`.
    let is_url = url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
    unmet([
        (
            visibility <= MAX_VISIBILITY_SECS,
            format!("queue.visibility_secs is {visibility}: the limit of SQS is {MAX_VISIBILITY_SECS}"),
        ),
        (wait <= 20, format!("queue.wait_secs is {wait}: the limit of SQS is 20")),
        (
            queue.kind != QueueKind::Sqs || is_url,
            format!(
                "queue.sqs.url is {url:?}: give a URL such as https://sqs.eu-central-1.amazonaws.com/123456789012/bday"
            ),
        ),
    ])
}

fn retry(retry: &Retry) -> Vec<String> {
    let (waits, attempts) = (&retry.schedule_secs, retry.max_attempts);
    let too_few = (
        waits.len() + 1 >= attempts as usize,
        format!(
            "retry.schedule_secs has {} waits, retry.max_attempts is {attempts}: give a wait for each but the last attempt",
            waits.len()
        ),
    );
    let too_long = waits.iter().map(|wait| {
        let error = format!("retry.schedule_secs has {wait}: it must be at most {MAX_WAIT_SECS} (a week)");
        (*wait <= MAX_WAIT_SECS, error)
    });
    unmet(std::iter::once(too_few).chain(too_long))
}

fn log(log: &Log) -> Vec<String> {
    let error = format!(
        "log.level is {:?}: use error, warn, info, debug or trace, also by module, as in \
         info,bday::pipeline::worker=debug",
        log.level
    );
    unmet([(is_log_level(&log.level), error)])
}

fn kinds(kinds: &BTreeMap<String, KindConfig>) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, kind) in kinds {
        if let Err(error) = Template::new(&kind.message) {
            errors.push(format!("kinds.{name}.message: {error}"));
        }
        if !is_kind_name(name) {
            errors.push(format!(
                "kinds.{name}: a kind's name is 1 to 40 lower-case letters, digits and underscores"
            ));
        }
    }
    errors
}

/// Whether it is a list of levels, each for the module before its `=`. The filter itself accepts any word as a module, and
/// would then drop the lines of all others.
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

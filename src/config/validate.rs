//! What the types cannot say: ranges, and values that contradict each other.

use super::{Config, ConfigError, QueueKind};
use crate::pipeline::channel::Template;

/// A request must end this long before its lease does, so that its outcome can be recorded.
const MARGIN_SECS: u64 = 5;
/// A wait between two attempts must end within the late rule's longest.
const MAX_WAIT_SECS: u64 = 7 * 86_400;
/// SQS refuses a longer visibility.
const MAX_VISIBILITY_SECS: u64 = 12 * 60 * 60;

impl Config {
    /// Checks everything that does not need the outside.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut errors = Vec::new();
        let mut check = |holds: bool, error: String| {
            if !holds {
                errors.push(error);
            }
        };
        let (queue, webhook) = (&self.queue, &self.webhook);

        check(
            webhook.timeout_secs > 0
                && webhook.timeout_secs.saturating_add(MARGIN_SECS) <= queue.visibility_secs,
            format!(
                "webhook.timeout_secs is {}, queue.visibility_secs is {}: a request must end {MARGIN_SECS} s before \
                 its lease, or it would be sent twice; lower the one or raise the other",
                webhook.timeout_secs, queue.visibility_secs
            ),
        );
        check(
            (1..=webhook.timeout_secs).contains(&webhook.connect_timeout_secs),
            format!(
                "webhook.connect_timeout_secs is {}: it must be at least 1 and not over webhook.timeout_secs ({})",
                webhook.connect_timeout_secs, webhook.timeout_secs
            ),
        );
        check(
            queue.visibility_secs <= MAX_VISIBILITY_SECS,
            format!(
                "queue.visibility_secs is {}: SQS allows {MAX_VISIBILITY_SECS} at the most",
                queue.visibility_secs
            ),
        );
        check(
            queue.wait_secs <= 20,
            format!("queue.wait_secs is {}: SQS allows 20 at the most", queue.wait_secs),
        );
        check(
            self.retry.schedule_secs.len() + 1 >= self.retry.max_attempts as usize,
            format!(
                "retry.schedule_secs has {} waits, retry.max_attempts is {}: give a wait for each but the last attempt",
                self.retry.schedule_secs.len(),
                self.retry.max_attempts
            ),
        );
        for wait in &self.retry.schedule_secs {
            check(
                *wait <= MAX_WAIT_SECS,
                format!("retry.schedule_secs has {wait}: it must be at most {MAX_WAIT_SECS} (a week)"),
            );
        }
        if queue.kind == QueueKind::Sqs {
            // Whoever needs the queue asks for the URL: not every command does.
            let url = &queue.sqs.url;
            check(
                url.is_empty() || url.starts_with("http://") || url.starts_with("https://"),
                format!(
                    "queue.sqs.url is {url:?}: give a URL such as https://sqs.eu-central-1.amazonaws.com/123456789012/bday"
                ),
            );
        }
        for (key, value, least, most) in [
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
        ] {
            check((least..=most).contains(&value), format!("{key} is {value}: it must be {least} to {most}"));
        }
        check(
            is_log_level(&self.log.level),
            format!(
                "log.level is {:?}: use error, warn, info, debug or trace, also by module, as in \
                 info,bday::pipeline::worker=debug",
                self.log.level
            ),
        );
        for (name, kind) in &self.kinds {
            if let Err(error) = Template::new(&kind.message) {
                check(false, format!("kinds.{name}.message: {error}"));
            }
            check(
                is_kind_name(name),
                format!("kinds.{name}: a kind's name is 1 to 40 lower-case letters, digits and underscores"),
            );
        }
        errors.extend(self.webhook.wrong_secrets());
        errors.extend(self.database.contradictions());
        if errors.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(errors)) }
    }
}

impl Config {
    /// What is wrong with `worker.drain_secs`, if it is so short that each stop breaks off requests that the receiver may
    /// have accepted, and sends them again. It works, so it is no reason not to start.
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

/// A level, or several with commas between them, each for the module before its `=`. The filter itself would take any
/// word for a module, and then be silent about all others.
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

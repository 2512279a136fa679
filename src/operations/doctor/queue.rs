//! Checks of the queue and its settings.

use std::time::Duration;

use chrono::TimeDelta;

use super::Finding;
use crate::calendar::{format_count, format_duration};
use crate::clock::SharedClock;
use crate::config::parts;
use crate::config::{Config, QueueKind};
use crate::pipeline::queue::{Depth, MAX_RECEIVES, QueueError, QueueSettings};
use crate::store::Store;

/// A shorter retention loses messages when the receiver is down for a long weekend.
const SHORT_RETENTION: Duration = Duration::from_hours(4 * 24);

pub(super) async fn check(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
    database: bool,
) -> Vec<Finding> {
    if config.queue.kind == QueueKind::Postgres && !database {
        return vec![Finding::failure(
            "queue.reachable",
            "the queue is in the database, which is unreachable",
            "correct the database first",
        )];
    }
    let Ok(queue) = parts::queue(config, store, clock).await else {
        return vec![Finding::failure(
            "queue.reachable",
            "queue.sqs.url is empty",
            "set BDAY__QUEUE__SQS__URL to the URL of the queue, or BDAY__QUEUE__KIND=postgres to use the database as the queue",
        )];
    };
    let depth = match queue.depth().await {
        Ok(depth) => depth,
        Err(error) => return vec![unreachable(config, &error)],
    };
    let mut findings = vec![Finding::ok(
        "queue.reachable",
        format!(
            "{}: {}, {} in flight",
            config.queue.kind.as_str(),
            format_count(depth.visible, "pack waits", "packs wait"),
            format_count(depth.in_flight, "is", "are")
        ),
    )];
    match queue.settings().await {
        Ok(Some(settings)) => findings.extend(compare(config, &settings)),
        Ok(None) => {}
        Err(error) => findings.push(unreachable(config, &error)),
    }
    findings.push(dead_letters(depth));
    findings
}

fn unreachable(config: &Config, error: &QueueError) -> Finding {
    let advice = match (error, config.queue.kind) {
        (QueueError::Missing(_), _) if config.queue.create => "`bday serve` or `bday migrate` creates it",
        (_, QueueKind::Postgres) => "run `bday migrate`",
        (_, QueueKind::Sqs) => {
            "check queue.sqs.url and queue.sqs.dead_letter_url, AWS_REGION, the credentials, and that they may use both \
             queues"
        }
    };
    Finding::failure("queue.reachable", error.to_string(), advice)
}

fn compare(config: &Config, settings: &QueueSettings) -> [Finding; 3] {
    [
        visibility(config.queue.visibility, settings.visibility),
        redrive(settings.max_receives),
        retention(settings),
    ]
}

fn visibility(configured: Duration, found: Duration) -> Finding {
    const CHECK: &str = "queue.visibility";
    if configured == found {
        return Finding::ok(CHECK, format!("{} s, as configured", found.as_secs()));
    }
    Finding::warning(
        CHECK,
        format!("{} s; queue.visibility_secs is {}", found.as_secs(), configured.as_secs()),
        "set both to the same value, so that the AWS console shows the value in effect: bday sets its own with each receive",
    )
}

fn redrive(max_receives: Option<u32>) -> Finding {
    const CHECK: &str = "queue.redrive";
    let after = |max| format!("after {}", format_count(max, "receive", "receives"));
    match max_receives {
        Some(max) if max >= MAX_RECEIVES => Finding::ok(CHECK, after(max)),
        Some(max) => Finding::warning(
            CHECK,
            after(max),
            "set maxReceiveCount to 5: with less, a pack becomes a dead letter after the failure of a few workers",
        ),
        None => Finding::failure(
            CHECK,
            "there is no dead-letter queue",
            "set a redrive policy: without it, messages that no worker can process are received for days",
        ),
    }
}

fn retention(settings: &QueueSettings) -> Finding {
    const CHECK: &str = "queue.retention";
    let (messages, dead_letters) = (settings.retention, settings.dead_letter_retention);
    let show = |time: Duration| format_duration(TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX));
    let found = format!("messages are kept for {}, dead letters for {}", show(messages), show(dead_letters));
    if dead_letters < messages {
        let advice = "keep dead letters as long as messages: their age counts from the first send";
        Finding::warning(CHECK, found, advice)
    } else if messages < SHORT_RETENTION {
        Finding::warning(CHECK, found, "set the retention to 14 days, the maximum")
    } else {
        Finding::ok(CHECK, found)
    }
}

fn dead_letters(depth: Depth) -> Finding {
    match depth.dead_letters {
        0 => Finding::ok("queue.dead_letters", "none"),
        n => Finding::warning(
            "queue.dead_letters",
            format_count(n, "message waits", "messages wait"),
            "`bday dlq list` shows the dead events and their reasons; `bday dlq redrive` redrives them",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::doctor::Grade;

    fn grades(settings: &QueueSettings) -> Vec<Grade> {
        let variables = [("BDAY__QUEUE__KIND", "postgres")];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let config = crate::config::load(None, variables).expect("a configuration");
        compare(&config, settings).iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn settings_that_differ_from_the_configuration_are_graded() {
        let days = |n: u64| Duration::from_hours(24 * n);
        let right = QueueSettings {
            visibility: Duration::from_secs(30),
            max_receives: Some(5),
            retention: days(14),
            dead_letter_retention: days(14),
        };
        assert_eq!(grades(&right), [Grade::Ok; 3]);
        let wrong = QueueSettings {
            visibility: Duration::from_secs(31),
            max_receives: Some(3),
            dead_letter_retention: days(4),
            ..right.clone()
        };
        assert_eq!(grades(&wrong), [Grade::Warning; 3]);
        let worse =
            QueueSettings { max_receives: None, retention: days(1), dead_letter_retention: days(1), ..right };
        assert_eq!(grades(&worse), [Grade::Ok, Grade::Failure, Grade::Warning]);
    }
}

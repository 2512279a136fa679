//! Is the queue there, and set up as the configuration thinks?

use std::time::Duration;

use super::Finding;
use crate::clock::SharedClock;
use crate::config::parts;
use crate::config::{Config, QueueKind};
use crate::pipeline::queue::{Depth, MAX_RECEIVES, QueueError, QueueSettings};
use crate::store::Store;

/// Less than this, and a weekend without a receiver loses messages.
const SHORT_RETENTION: Duration = Duration::from_hours(4 * 24);

pub(super) async fn examine(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
    database: bool,
) -> Vec<Finding> {
    if config.queue.kind == QueueKind::Postgres && !database {
        return vec![Finding::failure(
            "queue.reachable",
            "the queue is in the database, which was not reached",
            "put the database right first",
        )];
    }
    let Ok(queue) = parts::queue(config, store, clock).await else {
        return vec![Finding::failure(
            "queue.reachable",
            "queue.sqs.url is empty",
            "set BDAY__QUEUE__SQS__URL to the queue's URL, or BDAY__QUEUE__KIND=postgres for a queue in the database",
        )];
    };
    let depth = match queue.depth().await {
        Ok(depth) => depth,
        Err(error) => return vec![unreachable(config, &error)],
    };
    let mut findings = vec![Finding::ok(
        "queue.reachable",
        format!(
            "{}: {} packs wait, {} are being worked on",
            config.queue.kind.as_str(),
            depth.visible,
            depth.in_flight
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
            "check queue.sqs.url and queue.sqs.dead_letter_url, AWS_REGION, the credentials, and that their role may \
             use both queues"
        }
    };
    Finding::failure("queue.reachable", error.to_string(), advice)
}

fn compare(config: &Config, settings: &QueueSettings) -> [Finding; 3] {
    let (ours, theirs) = (config.queue.visibility(), settings.visibility);
    let visibility = if ours == theirs {
        Finding::ok("queue.visibility", format!("{} s, as configured", theirs.as_secs()))
    } else {
        Finding::warning(
            "queue.visibility",
            format!("{} s; queue.visibility_secs is {}", theirs.as_secs(), ours.as_secs()),
            "bday sets its own with each receive, so this works; make them equal, so that the console shows what holds",
        )
    };
    let redrive = match settings.max_receives {
        Some(most) if most >= MAX_RECEIVES => Finding::ok("queue.redrive", format!("after {most} receives")),
        Some(most) => Finding::warning(
            "queue.redrive",
            format!("after {most} receives"),
            "set maxReceiveCount to 5: a pack that meets a few workers in trouble would ring the alarm",
        ),
        None => Finding::failure(
            "queue.redrive",
            "there is no dead-letter queue",
            "give the queue a redrive policy: messages that no worker can take would be received for days",
        ),
    };
    let days = |time: Duration| time.as_secs() as f64 / 86_400.0;
    let kept = format!(
        "messages are kept for {:.1} days, dead letters for {:.1}",
        days(settings.retention),
        days(settings.dead_letter_retention)
    );
    let retention = if settings.dead_letter_retention < settings.retention {
        Finding::warning(
            "queue.retention",
            kept,
            "keep dead letters as long as messages: their age counts from the first sending",
        )
    } else if settings.retention < SHORT_RETENTION {
        Finding::warning("queue.retention", kept, "set it to 14 days, the longest")
    } else {
        Finding::ok("queue.retention", kept)
    };
    [visibility, redrive, retention]
}

fn dead_letters(depth: Depth) -> Finding {
    match depth.dead_letters {
        0 => Finding::ok("queue.dead_letters", "none"),
        n => Finding::warning(
            "queue.dead_letters",
            format!("{n} messages wait"),
            "`bday dlq list` shows the dead events and why they died; `bday dlq redrive` sends them again",
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
    fn a_queue_that_differs_from_the_configuration_is_told() {
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

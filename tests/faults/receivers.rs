//! The receivers, one for each channel, and what they received.

use std::time::Duration;

use bday::model::{BIRTHDAY, ChannelName};

use super::journal::{Cause, Journal};
use super::mail_sink::MailSink;
use super::plan::{ReceiverFault, Timed};
use super::sent::{ADDED_KIND, Sent, key_of};
use super::slack_sink::SlackSink;
use super::support::receiver::{Behaviour, Receiver, Record};

pub(crate) struct Receivers {
    pub(crate) webhook: Receiver,
    pub(crate) mail: MailSink,
    pub(crate) slack: SlackSink,
}

impl Receivers {
    pub(crate) async fn start() -> Self {
        let (webhook, mail, slack) = tokio::join!(Receiver::start(), MailSink::start(), SlackSink::start());
        Self { webhook, mail, slack }
    }

    /// Returns the settings of a daemon, whose name is in all its requests.
    pub(crate) fn settings(&self, daemon: &str) -> [(&'static str, String); 9] {
        [
            ("KINDS__BIRTHDAY__CHANNELS", "mail,slack,webhook".to_owned()),
            ("WEBHOOK__URL", format!("{}/{daemon}", self.webhook.url())),
            ("CHANNELS__MAIL__URL", self.mail.url()),
            ("CHANNELS__MAIL__FROM", format!("{daemon}@sender.example")),
            ("CHANNELS__MAIL__TIMEOUT_SECS", "2".to_owned()),
            ("CHANNELS__SLACK__URL", self.slack.url(daemon)),
            ("CHANNELS__SLACK__TIMEOUT_SECS", "2".to_owned()),
            ("CHANNELS__SLACK__MAX_PER_SECOND", "0".to_owned()),
            ("WEBHOOK__TIMEOUT_SECS", "2".to_owned()),
        ]
    }

    /// Returns all requests in the order of arrival.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        let posted = self.webhook.records().into_iter().map(posted);
        let mut sent: Vec<Sent> = posted.chain(self.mail.sent()).chain(self.slack.sent()).collect();
        sent.sort_by_key(|sent| sent.at);
        sent
    }

    /// Injects the faults at their times, one after the other.
    pub(crate) async fn inject(
        &self,
        journal: &Journal,
        faults: &Timed<(ChannelName, ReceiverFault, Duration)>,
    ) {
        for (time, (channel, fault, long)) in faults {
            tokio::time::sleep(time.saturating_sub(journal.in_plan())).await;
            journal.note(format!("receiver of {channel}: {fault:?}"));
            let cause = if loses_answers(*channel, *fault) {
                Cause::Answers(*channel)
            } else {
                Cause::Receiver(*channel)
            };
            journal.during(cause, self.spell(*channel, *fault, *long)).await;
        }
    }

    async fn spell(&self, channel: ChannelName, fault: ReceiverFault, long: Duration) {
        // Closing the connections also cuts off responses in flight.
        if matches!(fault, ReceiverFault::Unavailable) {
            match channel {
                ChannelName::Mail => self.mail.refuse().await,
                ChannelName::Slack => self.slack.refuse().await,
                _ => self.webhook.refuse().await,
            }
            tokio::time::sleep(long).await;
            return match channel {
                ChannelName::Mail => self.mail.accept(),
                ChannelName::Slack => self.slack.accept().await,
                _ => self.webhook.accept().await,
            };
        }
        match channel {
            ChannelName::Mail => self.mail.behave(Some(fault)),
            ChannelName::Slack => self.slack.behave(Some(fault)),
            _ => self.webhook.script([behaviour(fault)]),
        }
        tokio::time::sleep(long).await;
        self.mail.behave(None);
        self.slack.behave(None);
        self.webhook.script([]);
    }
}

fn posted(record: Record) -> Sent {
    let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap_or_default();
    let is_birthday = body["message"].as_str().is_some_and(|text| text.contains("birthday"));
    let wrong = body["eventId"] != record.event_id;
    Sent {
        channel: ChannelName::Webhook,
        user: key_of(body["userId"].as_str().unwrap_or_default()),
        kind: if is_birthday { BIRTHDAY } else { ADDED_KIND },
        sender: record.path.trim_start_matches("/hook/").to_owned(),
        fault: wrong.then(|| format!("the webhook-id {:?} and the body {body}", record.event_id)),
        event_id: Some(record.event_id),
        at: record.at,
        accepted_at: record.accepted_at,
    }
}

/// Half of the timeouts, in milliseconds: on a busy machine, a response delayed this long may arrive after the timeout.
const NEAR_THE_TIMEOUT_MS: u64 = 1000;

/// Whether requests are accepted whose sender may not learn of it.
fn loses_answers(channel: ChannelName, fault: ReceiverFault) -> bool {
    match fault {
        ReceiverFault::Unavailable | ReceiverFault::LateResponses | ReceiverFault::BrokenConnections => true,
        ReceiverFault::Slow(ms) => ms >= NEAR_THE_TIMEOUT_MS,
        // The status of HTTP tells the webhook; the others need the end of the response.
        ReceiverFault::Endless => channel != ChannelName::Webhook,
        // Slack posts the message, and answers `fatal_error`.
        ReceiverFault::Status(204) => channel == ChannelName::Slack,
        _ => false,
    }
}

/// What the webhook does during a fault.
fn behaviour(fault: ReceiverFault) -> Behaviour {
    match fault {
        ReceiverFault::Status(302) => {
            Behaviour::Answer(302, "location: /elsewhere\r\n".to_owned(), Vec::new())
        }
        ReceiverFault::Status(status) => Behaviour::Status(status),
        ReceiverFault::Throttling => Behaviour::Answer(429, "retry-after: 1\r\n".to_owned(), Vec::new()),
        ReceiverFault::Resetting => Behaviour::Reset,
        ReceiverFault::Endless => Behaviour::EndlessBody,
        ReceiverFault::InvalidResponses => Behaviour::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ReceiverFault::Slow(ms) => Behaviour::slow(Duration::from_millis(ms)),
        ReceiverFault::LateResponses => Behaviour::SlowBytes(Duration::from_millis(100)),
        ReceiverFault::BrokenConnections => Behaviour::ResetAfterHead,
        ReceiverFault::Hanging | ReceiverFault::Unavailable => Behaviour::Hang,
    }
}

//! The channel of an event: the first that reaches the user, fixed by the first attempt, and changed by a definite refusal only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bday::clock::{Clock as _, SystemClock};
use bday::model::EventState::{Dead, Delivered, Pending, Skipped};
use bday::model::{AttemptOutcome, ChannelName, ContactStatus, Event, NewUser, Reason};
use bday::pipeline::channel::{Channel, Disposition, Greeting, SendResult};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::wait::eventually;
use crate::support::world::{World, person};

/// A provider that answers as the test says, and accepts everything else.
#[derive(Debug, Default)]
struct Provider {
    answers: Mutex<VecDeque<SendResult>>,
    /// Answers that are repeated without end.
    always: Option<SendResult>,
    /// Answers nothing, like a server that hangs.
    hangs: bool,
    accepted: Mutex<Vec<(Uuid, String)>>,
    requests: Mutex<usize>,
}

#[async_trait]
impl Channel for Provider {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        *self.requests.lock().unwrap() += 1;
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if let Some(answer) = self.answers.lock().unwrap().pop_front().or_else(|| self.always.clone()) {
            return answer;
        }
        let address = greeting.recipient.as_ref().map_or_else(String::new, |to| to.address.clone());
        self.accepted.lock().unwrap().push((greeting.event_id, address));
        SendResult { provider_id: Some("message-1".to_owned()), ..SendResult::delivered(250) }
    }
}

impl Provider {
    fn answering(answers: impl IntoIterator<Item = SendResult>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() })
    }

    fn addresses(&self) -> Vec<String> {
        self.accepted.lock().unwrap().iter().map(|(_, address)| address.clone()).collect()
    }

    fn requests(&self) -> usize {
        *self.requests.lock().unwrap()
    }
}

fn failed(outcome: AttemptOutcome, disposition: Disposition, reason: Reason) -> SendResult {
    let delivered = SendResult::delivered(0);
    SendResult {
        outcome,
        disposition,
        status: None,
        reason: Some(reason),
        error: Some("no".into()),
        ..delivered
    }
}

fn bounced() -> SendResult {
    failed(AttemptOutcome::Failed, Disposition::Unreachable(ContactStatus::Bounced), Reason::Bounced)
}

fn unknown() -> SendResult {
    failed(AttemptOutcome::Unknown, Disposition::Retry(None), Reason::Timeout)
}

const DUE: &str = "2026-05-02T09:00:00Z";
const NO_WAIT: (&str, &str) = ("retry.schedule_secs", "0,0,0,0");

async fn world(channels: &str, more: &[(&str, &str)]) -> World {
    world_at(DUE, channels, more).await
}

async fn world_at(now: &str, channels: &str, more: &[(&str, &str)]) -> World {
    let settings = [&[("kinds.birthday.channels", channels), NO_WAIT], more].concat();
    World::with(now, &settings).await
}

async fn add_contact(world: &World, user: Uuid, contact_type: &str, address: &str) {
    let sql = "
        INSERT INTO contact_points (user_id, type, address, address_hash) VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id, type) DO UPDATE SET address = excluded.address, address_hash = excluded.address_hash";
    let hash = Sha256::digest(address).to_vec();
    let insert = sqlx::query(sql).bind(user).bind(contact_type).bind(address).bind(hash);
    insert.execute(&world.database.pool().await).await.unwrap();
}

/// Creates a user who is due now, with these contacts.
async fn user(world: &World, name: &str, contacts: &[(&str, &str)]) -> Uuid {
    let today = world.clock.now().date_naive().format("--%m-%d").to_string();
    let user = NewUser { send_at: Some("00:00".parse().unwrap()), ..person(name, &today, "UTC") };
    let user = world.write_user(user).await;
    for (contact_type, address) in contacts {
        add_contact(world, user, contact_type, address).await;
    }
    user
}

async fn event_of(world: &World, user: Uuid) -> Event {
    world.store.event(world.event_of(user).await).await.unwrap().unwrap()
}

/// Claims and delivers what is due.
async fn minute(world: &World, channels: &[(ChannelName, Arc<dyn Channel>)]) {
    world.tick().await;
    world.pool_of(channels).run_once().await.unwrap();
}

#[tokio::test]
async fn an_event_takes_the_first_channel_that_reaches_its_user() {
    let world = world("mail,slack", &[]).await;
    let both = user(&world, "both", &[("email", "a@example.org"), ("slack_user_id", "U1")]).await;
    let slack_only = user(&world, "slack", &[("slack_user_id", "U2")]).await;
    let nothing = user(&world, "nothing", &[("phone", "+49171")]).await;
    let (mail, slack) = (Provider::answering([]), Provider::answering([]));
    minute(&world, &[(ChannelName::Mail, mail.clone()), (ChannelName::Slack, slack.clone())]).await;
    assert_eq!((mail.addresses(), slack.addresses()), (vec!["a@example.org".into()], vec!["U2".to_owned()]));
    let (by_mail, by_slack) = (event_of(&world, both).await, event_of(&world, slack_only).await);
    assert_eq!((by_mail.state, by_mail.channel.as_deref()), (Delivered, Some("mail")));
    assert_eq!((by_slack.state, by_slack.channel.as_deref()), (Delivered, Some("slack")));
    let attempts = world.store.attempts(by_mail.id).await.unwrap();
    assert_eq!(attempts[0].provider_id.as_deref(), Some("message-1"));
    let skipped = event_of(&world, nothing).await;
    assert_eq!(
        (skipped.state, skipped.reason.as_deref(), skipped.attempts),
        (Skipped, Some("no_contact"), 0)
    );
}

#[tokio::test]
async fn slack_prefers_the_user_id_to_the_mail_address() {
    let world = world("slack", &[]).await;
    user(&world, "u", &[("email", "a@example.org")]).await;
    user(&world, "v", &[("email", "b@example.org"), ("slack_user_id", "U1")]).await;
    let slack = Provider::answering([]);
    minute(&world, &[(ChannelName::Slack, slack.clone())]).await;
    let mut addresses = slack.addresses();
    addresses.sort();
    assert_eq!(addresses, ["U1", "a@example.org"]);
}

#[tokio::test]
async fn a_refused_contact_is_suppressed_and_the_next_channel_is_tried() {
    let world = world("mail,slack,webhook", &[]).await;
    let contacts = [("email", "a@example.org"), ("slack_user_id", "U1")];
    let (one, other) = (user(&world, "one", &contacts).await, user(&world, "other", &[]).await);
    // Slack has two addresses: the user id, and the mail address that it looks up.
    let (mail, slack) = (Provider::answering([bounced()]), Provider::answering([bounced(), bounced()]));
    let webhook = Provider::answering([]);
    let channels: [(ChannelName, Arc<dyn Channel>); 3] = [
        (ChannelName::Mail, mail.clone()),
        (ChannelName::Slack, slack.clone()),
        (ChannelName::Webhook, webhook.clone()),
    ];
    for _ in 0..4 {
        minute(&world, &channels).await;
    }
    assert_eq!((mail.requests(), slack.requests(), webhook.requests()), (1, 2, 2));
    for user in [one, other] {
        let event = event_of(&world, user).await;
        assert_eq!((event.state, event.channel.as_deref()), (Delivered, Some("webhook")));
    }
    let attempts = world.store.attempts(world.event_of(one).await).await.unwrap();
    let channels: Vec<Option<&str>> = attempts.iter().map(|attempt| attempt.channel.as_deref()).collect();
    assert_eq!(channels, [Some("mail"), Some("slack"), Some("slack"), Some("webhook")]);
    // Another user with the same address is not tried by mail.
    let again = user(&world, "again", &[("email", "a@example.org")]).await;
    minute(&world, &[(ChannelName::Mail, mail.clone()), (ChannelName::Webhook, webhook.clone())]).await;
    assert_eq!((mail.requests(), event_of(&world, again).await.channel.as_deref()), (1, Some("webhook")));
}

#[tokio::test]
async fn an_event_that_every_channel_refuses_is_dead_with_the_reason() {
    let world = world("mail", &[]).await;
    let user = user(&world, "u", &[("email", "a@example.org")]).await;
    minute(&world, &[(ChannelName::Mail, Provider::answering([bounced()]))]).await;
    let event = event_of(&world, user).await;
    assert_eq!((event.state, event.reason.as_deref(), event.channel), (Dead, Some("bounced"), None));
    assert_eq!(world.dead_messages().await, 1);
}

#[tokio::test]
async fn a_redriven_event_uses_the_corrected_address() {
    let world = world("mail", &[]).await;
    let user = user(&world, "u", &[("email", "typo@example.org")]).await;
    let mail = Provider::answering([bounced()]);
    minute(&world, &[(ChannelName::Mail, mail.clone())]).await;
    add_contact(&world, user, "email", "right@example.org").await;
    let filter = bday::store::DeadFilter::default();
    let now = world.clock.now();
    let page =
        world.store.redrive_page(now, &filter, None, 10, false, |_| bday::store::RedriveOutcome::Redriven);
    assert_eq!(page.await.unwrap().outcomes.len(), 1);
    minute(&world, &[(ChannelName::Mail, mail.clone())]).await;
    assert_eq!(mail.addresses(), ["right@example.org"]);
}

#[tokio::test]
async fn after_an_unknown_outcome_no_other_channel_is_tried() {
    let world = world("mail,webhook", &[]).await;
    let user = user(&world, "u", &[("email", "a@example.org")]).await;
    let (mail, webhook) = (Provider::answering([unknown(), bounced()]), Provider::answering([]));
    let channels: [(ChannelName, Arc<dyn Channel>); 2] =
        [(ChannelName::Mail, mail.clone()), (ChannelName::Webhook, webhook.clone())];
    minute(&world, &channels).await;
    let event = event_of(&world, user).await;
    assert_eq!((event.state, event.channel.as_deref()), (Pending, Some("mail")));
    // The first request may have arrived, so that a refusal of the second must not lead to a greeting by another channel.
    minute(&world, &channels).await;
    assert_eq!(event_of(&world, user).await.state, Dead);
    assert_eq!((mail.requests(), webhook.requests()), (2, 0));
}

#[tokio::test]
async fn on_unknown_give_up_makes_one_attempt() {
    let world = world("sms", &[]).await;
    let user = user(&world, "u", &[("phone", "+49171")]).await;
    let sms = Provider::answering([unknown()]);
    minute(&world, &[(ChannelName::Sms, sms.clone())]).await;
    let event = event_of(&world, user).await;
    assert_eq!((event.state, event.reason.as_deref()), (Dead, Some("timeout")));
    assert_eq!(world.outcomes(event.id).await, [(1, "unknown".to_owned())]);
}

#[tokio::test]
async fn an_event_of_a_lost_worker_is_dead_if_its_channel_gives_up() {
    for (channel, contact, state) in [("sms", ("phone", "+49171"), Dead), ("mail", ("email", "a@b"), Pending)]
    {
        let world = world(channel, &[]).await;
        let user = user(&world, "u", &[contact]).await;
        world.tick().await;
        let kinds = ["birthday".to_owned()];
        let routes = sqlx::types::Json(world.config.routes().unwrap());
        let channels = [channel.to_owned()];
        let request = bday::store::LeaseRequest {
            routes: Some(&routes),
            channels: &channels,
            ..world.lease_request(Uuid::now_v7(), &kinds)
        };
        assert_eq!(world.store.lease(request, &[world.event_of(user).await]).await.unwrap().len(), 1);
        world.set("2026-05-02T09:00:31Z");
        world.scheduler().run_once(world.clock.now()).await.1.unwrap();
        let event = event_of(&world, user).await;
        // The tick that swept it may have claimed it again.
        assert_eq!(event.state == Dead, state == Dead, "{channel}: {event:?}");
        assert_eq!(event.channel.as_deref(), Some(channel));
    }
}

#[tokio::test]
async fn deferred_attempts_do_not_count() {
    let world = world("mail", &[]).await;
    let user = user(&world, "u", &[("email", "a@example.org")]).await;
    let down = failed(AttemptOutcome::Failed, Disposition::Defer(None), Reason::ChannelDown);
    let mail = Provider::answering(std::iter::repeat_n(down, 12));
    for _ in 0..13 {
        minute(&world, &[(ChannelName::Mail, mail.clone())]).await;
    }
    let event = event_of(&world, user).await;
    assert_eq!((event.state, event.attempts), (Delivered, 13));
}

#[tokio::test]
async fn a_contact_that_opts_out_between_two_attempts_gets_nothing() {
    let world = world("mail,webhook", &[]).await;
    let user = user(&world, "u", &[("email", "a@example.org")]).await;
    let later = failed(AttemptOutcome::Failed, Disposition::Retry(None), Reason::Status);
    let (mail, webhook) = (Provider::answering([later]), Provider::answering([]));
    let channels: [(ChannelName, Arc<dyn Channel>); 2] =
        [(ChannelName::Mail, mail.clone()), (ChannelName::Webhook, webhook.clone())];
    minute(&world, &channels).await;
    let sql = "
        INSERT INTO suppressions (address_hash, channel, status, since)
        SELECT address_hash, 'mail', 'opted_out', now() FROM contact_points";
    sqlx::query(sql).execute(&world.database.pool().await).await.unwrap();
    minute(&world, &channels).await;
    let event = event_of(&world, user).await;
    assert_eq!((event.state, event.reason.as_deref()), (Skipped, Some("no_contact")));
    assert_eq!((mail.requests(), webhook.requests()), (1, 0));
}

#[tokio::test]
async fn an_opt_out_of_one_kind_leaves_the_others() {
    let world = world("mail", &[("kinds.name_day.message", "Happy name day")]).await;
    let mut both = person("u", "1990-05-02", "UTC");
    both.occasions.insert("name_day".to_owned(), Some("--05-02".parse().unwrap()));
    let user = world.write_user(both).await;
    add_contact(&world, user, "email", "a@example.org").await;
    let sql = "
        INSERT INTO suppressions (address_hash, channel, kind, status, since)
        SELECT address_hash, 'mail', 'name_day', 'opted_out', now() FROM contact_points";
    sqlx::query(sql).execute(&world.database.pool().await).await.unwrap();
    let mail = Provider::answering([]);
    minute(&world, &[(ChannelName::Mail, mail.clone())]).await;
    assert_eq!((mail.requests(), world.count(Delivered).await, world.count(Skipped).await), (1, 1, 1));
}

#[tokio::test]
async fn a_worker_leaves_events_of_channels_that_it_does_not_have() {
    let world = world("mail,slack", &[]).await;
    let user = user(&world, "u", &[("slack_user_id", "U1")]).await;
    let later = failed(AttemptOutcome::Failed, Disposition::Retry(None), Reason::Status);
    minute(&world, &[(ChannelName::Slack, Provider::answering([later]))]).await;
    minute(&world, &[(ChannelName::Mail, Provider::answering([]))]).await;
    let event = event_of(&world, user).await;
    assert_eq!((event.state.as_str(), event.attempts), ("queued", 1));
}

#[tokio::test]
async fn a_channel_that_is_down_does_not_delay_the_others() {
    let world = world_at(
        &SystemClock.now().to_rfc3339(),
        "mail,slack",
        &[("breaker.failures", "1"), ("breaker.after_secs", "0"), ("channels.slack.max_per_second", "0")],
    )
    .await;
    let mut by_slack = Vec::new();
    for n in 0..40 {
        user(&world, &format!("mail-{n}"), &[("email", &format!("{n}@example.org"))]).await;
        by_slack.push(user(&world, &format!("slack-{n}"), &[("slack_user_id", &format!("U{n}"))]).await);
    }
    let down = failed(AttemptOutcome::Failed, Disposition::Defer(None), Reason::ChannelDown);
    let mail = Arc::new(Provider { always: Some(down), ..Provider::default() });
    let slack = Provider::answering([]);
    world.tick().await;
    let pool = world.pool_of_on(
        &[(ChannelName::Mail, mail.clone()), (ChannelName::Slack, slack.clone())],
        Arc::new(SystemClock),
    );
    let (soft, mut running) = (CancellationToken::new(), JoinSet::new());
    let until = soft.clone();
    running.spawn(async move { pool.run(until, CancellationToken::new()).await });
    eventually("all Slack greetings are accepted", async || (slack.requests() == 40).then_some(())).await;
    eventually("all mails are postponed", async || (world.count(Pending).await == 40).then_some(())).await;
    soft.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    assert!(mail.requests() < 10, "{} requests to a provider that is down", mail.requests());
    let spent: i64 = sqlx::query_scalar(
        "SELECT sum(attempts - attempts_not_counted)::bigint FROM events WHERE state = 'pending'",
    )
    .fetch_one(&world.database.pool().await)
    .await
    .unwrap();
    assert_eq!(spent, 0);
}

#[tokio::test]
async fn a_channel_that_hangs_does_not_take_the_slots_of_the_others() {
    let settings = [("worker.max_in_flight", "20"), ("channels.slack.max_per_second", "0")];
    let world = world_at(&SystemClock.now().to_rfc3339(), "mail,slack", &settings).await;
    for n in 0..60 {
        user(&world, &format!("mail-{n}"), &[("email", &format!("{n}@example.org"))]).await;
        user(&world, &format!("slack-{n}"), &[("slack_user_id", &format!("U{n}"))]).await;
    }
    let mail = Arc::new(Provider { hangs: true, ..Provider::default() });
    let slack = Provider::answering([]);
    world.tick().await;
    let channels: [(ChannelName, Arc<dyn Channel>); 2] =
        [(ChannelName::Mail, mail.clone()), (ChannelName::Slack, slack.clone())];
    let pool = world.pool_of_on(&channels, Arc::new(SystemClock));
    let (soft, hard, mut running) = (CancellationToken::new(), CancellationToken::new(), JoinSet::new());
    let (until, cancelled) = (soft.clone(), hard.clone());
    running.spawn(async move { pool.run(until, cancelled).await });
    eventually("all Slack greetings are accepted", async || (slack.requests() == 60).then_some(())).await;
    assert_eq!(mail.requests(), 10, "the share of one of two channels");
    soft.cancel();
    hard.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_rate_limit_postpones_without_spending_attempts() {
    let world =
        world_at(&SystemClock.now().to_rfc3339(), "mail,slack", &[("channels.slack.max_per_second", "1")])
            .await;
    for n in 0..20 {
        user(&world, &format!("slack-{n}"), &[("slack_user_id", &format!("U{n}"))]).await;
    }
    let (mail, slack) = (Provider::answering([]), Provider::answering([]));
    world.tick().await;
    let pool = world
        .pool_of_on(&[(ChannelName::Mail, mail), (ChannelName::Slack, slack.clone())], Arc::new(SystemClock));
    let (soft, mut running) = (CancellationToken::new(), JoinSet::new());
    let until = soft.clone();
    running.spawn(async move { pool.run(until, CancellationToken::new()).await });
    eventually("the others are postponed", async || (world.count(Pending).await >= 17).then_some(())).await;
    soft.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    let (attempts, fixed): (i64, i64) =
        sqlx::query_as("SELECT sum(attempts)::bigint, count(channel) FROM events WHERE state = 'pending'")
            .fetch_one(&world.database.pool().await)
            .await
            .unwrap();
    assert_eq!((attempts, fixed), (0, 0));
    assert!((1..=3).contains(&slack.requests()), "{} requests", slack.requests());
}

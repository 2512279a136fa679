//! Which addresses are connected to, with names that lead where they should not.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bday::clock::SystemClock;
use bday::model::EventState::Pending;
use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::address_filter::AddressFilter;
use bday::pipeline::channel::signature::Signer;
use bday::pipeline::channel::webhook::Webhook;
use bday::pipeline::channel::wire::{Wire, WireOptions};
use bday::pipeline::channel::{Channel as _, Greeting, Sent};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::receiver::{Behaviour, Receiver};
use crate::support::world::World;

/// A resolver that gives one answer after the other, and the last again and again.
struct Script {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<usize>,
}

impl Script {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(parse).collect()), asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl Resolve for Script {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *self.asked.lock().unwrap() += 1;
        let answer = answers.pop_front().unwrap();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        let addresses = answer.into_iter().map(|ip| SocketAddr::new(ip, 0));
        Box::pin(async move { Ok(Box::new(addresses) as Addrs) })
    }
}

fn guard(public_only: bool, allow: &[&str], deny: &[&str]) -> AddressFilter {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    AddressFilter { public_only, allow: ranges(allow), deny: ranges(deny) }
}

fn options(guard: AddressFilter) -> WireOptions {
    WireOptions {
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        guard,
        ..WireOptions::default()
    }
}

fn webhook(wire: Wire, url: &str) -> Webhook {
    let (_, url) = watch::channel(url.parse().unwrap());
    Webhook::new(wire, url, Signer::default(), Arc::new(SystemClock))
}

fn greeting() -> Greeting {
    Greeting {
        event_id: uuid::Uuid::now_v7(),
        user_id: uuid::Uuid::now_v7(),
        message: "Hey".to_owned(),
        due_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn assert_refused(sent: &Sent, address: &str, key: &str) {
    assert_eq!(
        (sent.outcome, sent.reason),
        (AttemptOutcome::Failed, Some(Reason::AddressRefused)),
        "{sent:?}"
    );
    let error = sent.error.as_deref().unwrap();
    assert!(error.starts_with(address) && error.contains(key), "{error}");
}

#[tokio::test]
async fn an_address_in_the_url_is_looked_at_however_it_is_written() {
    let receiver = Receiver::start().await;
    let port = receiver.address().port();
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("[::1]", "::1"),
        ("0.0.0.0", "0.0.0.0"),
        ("localhost", "127.0.0.1"),
    ] {
        let url = format!("http://{host}:{port}/hook");
        let wire = Wire::new(options(guard(true, &[], &["::1/128"]))).unwrap();
        let sent = webhook(wire, &url).send(&greeting()).await;
        // Which of its two addresses `localhost` has is the machine's business.
        let address = if host == "localhost" { "" } else { address };
        assert_refused(&sent, address, "webhook.");
    }
    assert!(receiver.records().is_empty());
    let wire = Wire::new(options(guard(true, &["127.0.0.0/8"], &[]))).unwrap();
    let sent = webhook(wire, &receiver.url()).send(&greeting()).await;
    assert_eq!(sent, Sent::delivered(200));
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_refused() {
    let receiver = Receiver::start().await;
    let url = format!("http://receiver.example:{}/hook", receiver.address().port());
    for (answer, allow, deny, refused) in [
        (&["127.0.0.1"][..], &[][..], &[][..], Some(("127.0.0.1 is a loopback", "webhook.allow_ranges"))),
        (&["169.254.169.254"], &[], &[], Some(("169.254.169.254 is a link-local", "webhook.allow_ranges"))),
        (&["::ffff:10.0.0.1"], &[], &[], Some(("::ffff:10.0.0.1 is a private", "webhook.allow_ranges"))),
        (
            &["127.0.0.1"],
            &["127.0.0.0/8"],
            &["127.0.0.1/32"],
            Some(("127.0.0.1 is in webhook.deny_ranges (127.0.0.1/32)", "webhook.deny_ranges")),
        ),
        (&["127.0.0.1"], &["127.0.0.0/8"], &[], None),
        // The forbidden one is passed over.
        (&["10.0.0.1", "127.0.0.1"], &["127.0.0.0/8"], &[], None),
    ] {
        receiver.clear();
        let names = Script::new(&[answer]);
        let wire = Wire::with_names(options(guard(true, allow, deny)), names).unwrap();
        let sent = webhook(wire, &url).send(&greeting()).await;
        match refused {
            Some((address, key)) => assert_refused(&sent, address, key),
            None => assert_eq!(sent, Sent::delivered(200), "{answer:?}"),
        }
        assert_eq!(receiver.records().len(), usize::from(refused.is_none()), "{answer:?}");
    }
}

#[tokio::test]
async fn a_name_that_changes_between_look_and_connection_leads_nowhere_else() {
    let receiver = Receiver::start().await;
    let port = receiver.address().port();
    // Where a rebound name would lead: the same port at another address of this machine.
    let forbidden = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let close = Behaviour::Answer(200, "connection: close\r\n".to_owned(), Vec::new());
    receiver.script([close]);
    let (good, bad) = (&["127.0.0.1"][..], &["127.0.0.2"][..]);
    let names = Script::new(&[good, bad, good, bad, good, bad, good, bad]);
    let wire = Wire::with_names(
        options(guard(false, &[], &["127.0.0.2/32"])),
        Arc::clone(&names) as Arc<dyn Resolve>,
    );
    let webhook = webhook(wire.unwrap(), &format!("http://receiver.example:{port}/hook"));
    for n in 1..=8 {
        let sent = webhook.send(&greeting()).await;
        if n % 2 == 1 {
            assert_eq!(sent, Sent::delivered(200), "{n}");
        } else {
            assert_refused(&sent, "127.0.0.2", "webhook.deny_ranges");
        }
        // What was looked at is what was connected to: there was no second question.
        assert_eq!(names.asked(), n);
    }
    assert_eq!(receiver.records().len(), 4);
    let nobody = tokio::time::timeout(Duration::from_millis(50), forbidden.accept()).await;
    assert!(nobody.is_err(), "the forbidden address was connected to");
}

#[tokio::test]
async fn a_refused_address_is_a_failed_attempt_with_its_own_reason() {
    let world = World::with("2026-05-02T00:00:00Z", &[("webhook.addresses", "public")]).await;
    world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert!(world.receiver.records().is_empty());
    assert_eq!(world.count(Pending).await, 1);
    let events: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM events").fetch_all(&world.database.pool().await).await.unwrap();
    let attempt = world.store.attempts(events[0]).await.unwrap().remove(0);
    assert_eq!(
        (attempt.outcome.as_str(), attempt.reason.as_deref(), attempt.status),
        ("failed", Some("address_refused"), None)
    );
    let error = attempt.error.unwrap();
    assert!(error.starts_with("127.0.0.1 is a loopback address"), "{error}");
}

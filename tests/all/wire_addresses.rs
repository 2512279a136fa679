//! The address filter, with literal addresses and with names that resolve to forbidden addresses.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bday::model::EventState::Pending;
use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::address_filter::AddressFilter;
use bday::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use bday::pipeline::channel::{Channel as _, SendResult};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpListener;

use crate::support::receiver::{Behaviour, Receiver};
use crate::support::webhook::{greeting, webhook};
use crate::support::world::World;

/// Returns its answers in order, and repeats the last one.
struct ScriptedResolver {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    queries: Mutex<usize>,
}

impl ScriptedResolver {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(parse).collect()), queries: Mutex::default() })
    }

    fn queries(&self) -> usize {
        *self.queries.lock().unwrap()
    }
}

impl Resolve for ScriptedResolver {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *self.queries.lock().unwrap() += 1;
        let answer = answers.pop_front().unwrap();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        let addresses = answer.into_iter().map(|ip| SocketAddr::new(ip, 0));
        Box::pin(async move { Ok(Box::new(addresses) as Addrs) })
    }
}

fn filter(public_only: bool, allow: &[&str], deny: &[&str]) -> AddressFilter {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    AddressFilter { public_only, allow: ranges(allow), deny: ranges(deny) }
}

fn options(address_filter: AddressFilter) -> HttpClientOptions {
    HttpClientOptions {
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        address_filter,
        ..HttpClientOptions::default()
    }
}

fn assert_refused(result: &SendResult, address: &str, key: &str) {
    assert_eq!(
        (result.outcome, result.reason),
        (AttemptOutcome::Failed, Some(Reason::AddressRefused)),
        "{result:?}"
    );
    let error = result.error.as_deref().unwrap();
    let start = format!("refused to connect to {address}");
    assert!(error.starts_with(&start) && error.contains(key), "{error}");
}

#[tokio::test]
async fn literal_addresses_are_checked_in_any_notation() {
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
        let client = HttpClient::new(options(filter(true, &[], &["::1/128"]))).unwrap();
        let result = webhook(client, &url).send(&greeting()).await;
        // `localhost` has an IPv4 or an IPv6 address, depending on the system.
        let address = if host == "localhost" { "" } else { address };
        assert_refused(&result, address, "webhook.");
    }
    assert!(receiver.records().is_empty());
    let client = HttpClient::new(options(filter(true, &["127.0.0.0/8"], &[]))).unwrap();
    let result = webhook(client, &receiver.url()).send(&greeting()).await;
    assert_eq!(result, SendResult::delivered(200));
}

#[tokio::test]
async fn a_name_that_resolves_to_a_forbidden_address_is_rejected() {
    let receiver = Receiver::start().await;
    let url = format!("http://receiver.example:{}/hook", receiver.address().port());
    for (answer, allow, deny, refused) in [
        (&["127.0.0.1"][..], &[][..], &[][..], Some(("127.0.0.1: it is a loopback", "webhook.allow_ranges"))),
        (
            &["169.254.169.254"],
            &[],
            &[],
            Some(("169.254.169.254: it is a link-local", "webhook.allow_ranges")),
        ),
        (&["::ffff:10.0.0.1"], &[], &[], Some(("::ffff:10.0.0.1: it is a private", "webhook.allow_ranges"))),
        (
            &["127.0.0.1"],
            &["127.0.0.0/8"],
            &["127.0.0.1/32"],
            Some(("127.0.0.1: webhook.deny_ranges contains 127.0.0.1/32", "webhook.deny_ranges")),
        ),
        (&["127.0.0.1"], &["127.0.0.0/8"], &[], None),
        // Of two addresses, the allowed one is used.
        (&["10.0.0.1", "127.0.0.1"], &["127.0.0.0/8"], &[], None),
    ] {
        receiver.clear();
        let resolver = ScriptedResolver::new(&[answer]);
        let client = HttpClient::with_resolver(options(filter(true, allow, deny)), resolver).unwrap();
        let result = webhook(client, &url).send(&greeting()).await;
        match refused {
            Some((address, key)) => assert_refused(&result, address, key),
            None => assert_eq!(result, SendResult::delivered(200), "{answer:?}"),
        }
        assert_eq!(receiver.records().len(), usize::from(refused.is_none()), "{answer:?}");
    }
}

#[tokio::test]
async fn the_checked_address_is_used_without_another_query() {
    let receiver = Receiver::start().await;
    let port = receiver.address().port();
    // The target of a DNS rebinding attack: the same port on another local address.
    let forbidden = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let close = Behaviour::Answer(200, "connection: close\r\n".to_owned(), Vec::new());
    receiver.script([close]);
    let (good, bad) = (&["127.0.0.1"][..], &["127.0.0.2"][..]);
    let resolver = ScriptedResolver::new(&[good, bad, good, bad, good, bad, good, bad]);
    let client = HttpClient::with_resolver(
        options(filter(false, &[], &["127.0.0.2/32"])),
        Arc::clone(&resolver) as Arc<dyn Resolve>,
    );
    let webhook = webhook(client.unwrap(), &format!("http://receiver.example:{port}/hook"));
    for n in 1..=8 {
        let result = webhook.send(&greeting()).await;
        if n % 2 == 1 {
            assert_eq!(result, SendResult::delivered(200), "{n}");
        } else {
            assert_refused(&result, "127.0.0.2", "webhook.deny_ranges");
        }
        // The client connected to the checked address, without a second query.
        assert_eq!(resolver.queries(), n);
    }
    assert_eq!(receiver.records().len(), 4);
    let connected = tokio::time::timeout(Duration::from_millis(50), forbidden.accept()).await;
    assert!(connected.is_err(), "the forbidden address was connected to");
}

#[tokio::test]
async fn a_forbidden_address_is_a_failed_attempt_with_its_own_reason() {
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
    assert!(error.starts_with("refused to connect to 127.0.0.1: it is a loopback address"), "{error}");
}

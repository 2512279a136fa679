//! `bday doctor` on the DNS records of the sender's domain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bday::clock::{SettableClock, SharedClock};
use bday::config::{self, Variables};
use bday::operations::doctor::{self, Finding, Grade, Resolver};
use tokio::net::UdpSocket;

use crate::support::dnsmasq::Dnsmasq;
use crate::support::wait::within;

const KEY: &str = "--txt-record=s1._domainkey.example.org,v=DKIM1; k=rsa; p=MIIB";
const POLICY: &str = "--txt-record=_dmarc.example.org,v=DMARC1; p=none; rua=mailto:dmarc@example.org";
/// Of one attempt: there are two.
const SHORT: Duration = Duration::from_millis(50);

/// The findings on the sender's domain.
struct Findings(Vec<Finding>);

impl Findings {
    /// Asks the server at `address`, for mail from `from` by a server that does not listen.
    async fn of(address: SocketAddr, timeout: Duration, from: &str, selector: &str) -> Self {
        let variables = [
            ("KINDS__BIRTHDAY__CHANNELS", "mail"),
            ("QUEUE__KIND", "postgres"),
            ("CHANNELS__MAIL__URL", "smtp://127.0.0.1:1"),
            ("CHANNELS__MAIL__FROM", from),
            ("CHANNELS__MAIL__DKIM_SELECTOR", selector),
        ];
        let variables: Variables =
            variables.map(|(key, value)| (format!("BDAY__{key}"), value.to_owned())).into();
        let config = config::load(None, variables).unwrap();
        let clock: SharedClock = Arc::new(SettableClock::new("2026-12-10T09:00:00Z".parse().unwrap()));
        let resolver = Resolver::with_server(address, timeout);
        let run = Box::pin(doctor::run(&config, &clock, &resolver));
        Self(within("bday doctor", run).await)
    }

    fn assert(&self, check: &str, grade: Grade, text: &str) {
        let finding = self.0.iter().find(|finding| finding.check == check).unwrap();
        assert_eq!(finding.grade, grade, "{finding:?}");
        assert!(finding.found.contains(text), "{text:?} is not in {finding:?}");
    }

    /// Every check reports that it was not made, and why.
    fn assert_not_checked(&self, reason: &str) {
        for check in ["mail.spf", "mail.dkim", "mail.dmarc"] {
            self.assert(check, Grade::Warning, "not checked: the DNS server of this machine");
            self.assert(check, Grade::Warning, reason);
        }
    }
}

/// Checks mail from example.org against these records.
async fn with_records(records: &[&str]) -> Option<Findings> {
    let server = Dnsmasq::start(records).await?;
    Some(Findings::of(server.address, Duration::from_secs(5), "bday@example.org", "s1").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_all_records_is_ok() {
    // Too long for a datagram: the resolver asks again by TCP.
    let others: Vec<String> =
        (0..60).map(|n| format!("--txt-record=example.org,verification={n:060}")).collect();
    let spf = "--txt-record=example.org,v=spf1 include:_spf.example,.org ~all";
    let mut records = vec![KEY, POLICY, spf];
    records.extend(others.iter().map(String::as_str));
    let Some(server) = Dnsmasq::start(&records).await else { return };
    let from = "Example Ltd <bday@example.org>";
    let found = Findings::of(server.address, Duration::from_secs(5), from, "s1").await;
    found.assert("mail.spf", Grade::Ok, "example.org has v=spf1 include:_spf.example.org ~all");
    found.assert("mail.dkim", Grade::Ok, "s1._domainkey.example.org has a key");
    found.assert("mail.dmarc", Grade::Ok, "_dmarc.example.org has the policy none");

    let found = Findings::of(server.address, Duration::from_secs(5), from, "").await;
    found.assert("mail.dkim", Grade::Warning, "channels.mail.dkim_selector is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_records_are_warnings() {
    let Some(found) = with_records(&["--txt-record=example.org,other"]).await else { return };
    found.assert("mail.spf", Grade::Warning, "example.org has no SPF record");
    found.assert("mail.dkim", Grade::Warning, "s1._domainkey.example.org has no DKIM key");
    found.assert("mail.dmarc", Grade::Warning, "example.org has no DMARC record");

    let found = with_records(&[]).await.unwrap();
    found.assert("mail.spf", Grade::Warning, "DNS has no name example.org");
    found.assert("mail.dkim", Grade::Warning, "has no DKIM key");
    found.assert("mail.dmarc", Grade::Warning, "has no DMARC record");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_effect_are_warnings() {
    for (record, check, text) in [
        ("example.org,v=spf1 -all", "mail.spf", "permits no server"),
        ("example.org,v=spf1 mx +all", "mail.spf", "permits every server"),
        ("example.org,V=SPF1 ALL", "mail.spf", "permits every server"),
        ("example.org,v=spf10 mx ~all", "mail.spf", "no SPF record"),
        ("s1._domainkey.example.org,v=DKIM1; p=", "mail.dkim", "revoked"),
        ("s1._domainkey.example.org,v=DKIM2; p=MIIB", "mail.dkim", "no DKIM key"),
        ("s1._domainkey.example.org,v=spf1 -all", "mail.dkim", "no DKIM key"),
        ("_dmarc.example.org,v=DMARC1; p=all", "mail.dmarc", "no valid policy"),
        ("_dmarc.example.org,v=DMARC1", "mail.dmarc", "no valid policy"),
        ("_dmarc.example.org,p=none; v=DMARC1", "mail.dmarc", "no DMARC record"),
    ] {
        let Some(found) = with_records(&[&format!("--txt-record={record}")]).await else { return };
        found.assert(check, Grade::Warning, text);
    }
    let twice = [
        "--txt-record=example.org,v=spf1 mx ~all",
        "--txt-record=example.org,v=spf1",
        KEY,
        "--txt-record=s1._domainkey.example.org,p=MIIC",
        POLICY,
        "--txt-record=_dmarc.example.org,v=DMARC1;p=reject",
    ];
    let found = with_records(&twice).await.unwrap();
    found.assert("mail.spf", Grade::Warning, "has 2 SPF records");
    found.assert("mail.dkim", Grade::Warning, "has 2 DKIM keys");
    found.assert("mail.dmarc", Grade::Warning, "has 2 DMARC records");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subdomain_has_the_policy_of_its_nearest_parent_and_keys_may_be_aliases() {
    let records = [
        POLICY,
        "--txt-record=_dmarc.news.example.org,v=DMARC1; p=quarantine",
        "--cname=mail2026._domainkey.eu.news.example.org,key.provider.org",
        "--txt-record=key.provider.org,p=MIIB",
        "--txt-record=xn--gre-6ka8i.example,v=spf1 mx -all",
        "--txt-record=_dmarc.xn--gre-6ka8i.example,v = DMARC1 ; p = reject",
    ];
    let Some(server) = Dnsmasq::start(&records).await else { return };
    let find = async |from| Findings::of(server.address, Duration::from_secs(5), from, "mail2026").await;
    let found = find("bday@eu.news.example.org").await;
    found.assert("mail.dkim", Grade::Ok, "mail2026._domainkey.eu.news.example.org has a key");
    found.assert("mail.dmarc", Grade::Ok, "_dmarc.news.example.org has the policy quarantine");
    let found = find("bday@other.example.org").await;
    found.assert("mail.dmarc", Grade::Ok, "_dmarc.example.org has the policy none");
    let found = find("Größe <bday@xn--gre-6ka8i.example>").await;
    found.assert("mail.spf", Grade::Ok, "xn--gre-6ka8i.example has v=spf1 mx -all");
    found.assert("mail.dmarc", Grade::Ok, "_dmarc.xn--gre-6ka8i.example has the policy reject");
    find("bday@example.net").await.assert_not_checked("answers REFUSED for ");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_records_are_not_checked() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = socket.local_addr().unwrap();
    Findings::of(silent, SHORT, "bday@example.org", "s1")
        .await
        .assert_not_checked("did not answer within 100ms");
    // Never asked: these domains do not exist in public DNS.
    for domain in ["example.invalid", "localhost"] {
        let from = format!("bday@{domain}");
        let found = Findings::of(silent, SHORT, &from, "s1").await;
        found.assert("mail.spf", Grade::Warning, &format!("DNS has no name {domain}"));
    }
    drop(socket);
    Findings::of(silent, SHORT, "bday@example.org", "s1").await.assert_not_checked("");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_servfail_the_records_are_not_checked() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = async {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            // The query becomes a response with the code SERVFAIL.
            buffer[2] |= 0x80;
            buffer[3] = 2;
            socket.send_to(&buffer[..length], from).await.unwrap();
        }
    };
    tokio::select! {
        () = server => {}
        found = Findings::of(address, Duration::from_secs(5), "bday@example.org", "s1") => found.assert_not_checked("answers SERVFAIL for "),
    }
}

//! Checks the DNS records by which mailbox providers verify the sender of mail: SPF, DKIM and DMARC.
//!
//! An absent record is a warning: the mail server may sign with another domain, and other machines may get other answers.
//!
//! Not checked: the servers that SPF permits, and that the mail server signs with the key of DKIM.

use futures_util::future::join_all;

use super::Finding;
use super::dns::Resolver;

const SPF: &str = "mail.spf";
const DKIM: &str = "mail.dkim";
const DMARC: &str = "mail.dmarc";

/// Checks SPF, DKIM and DMARC of `domain`. An empty selector is unknown.
pub(super) async fn check(resolver: &Resolver, domain: &str, dkim_selector: &str) -> Vec<Finding> {
    let (spf, dkim, dmarc) =
        tokio::join!(spf(resolver, domain), dkim(resolver, domain, dkim_selector), dmarc(resolver, domain));
    vec![checked(SPF, spf), checked(DKIM, dkim), dmarc]
}

/// The error is the reason why DNS did not answer.
async fn spf(resolver: &Resolver, domain: &str) -> Result<Finding, String> {
    let Some(records) = resolver.txt(domain).await? else {
        let found = format!("DNS has no name {domain}: mailbox providers may reject a sender there");
        return Ok(Finding::warning(SPF, found, "check the domain of channels.mail.from"));
    };
    let records: Vec<&String> = records.iter().filter(|record| is_spf(record)).collect();
    Ok(match records[..] {
        [] => Finding::warning(
            SPF,
            format!("{domain} has no SPF record: mailbox providers may treat mail as spam"),
            format!(
                "publish a TXT record at {domain} with the servers that send: \"v=spf1 include:DOMAIN ~all\" as the mail \
                 provider tells, or \"v=spf1 ip4:ADDRESS ~all\" for a server of your own"
            ),
        ),
        [record] => one_spf(domain, record),
        _ => Finding::warning(
            SPF,
            format!(
                "{domain} has {} SPF records: receivers treat this as an error, and use none",
                records.len()
            ),
            "merge them into one record",
        ),
    })
}

fn is_spf(record: &str) -> bool {
    record.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

fn one_spf(domain: &str, record: &str) -> Finding {
    let terms: Vec<String> =
        record.split(' ').skip(1).filter(|term| !term.is_empty()).map(str::to_ascii_lowercase).collect();
    if terms.iter().any(|term| term == "all" || term == "+all") {
        return Finding::warning(
            SPF,
            format!("{domain} permits every server to send: {record}"),
            "end the record with ~all or -all",
        );
    }
    if terms == ["-all"] {
        return Finding::warning(
            SPF,
            format!("{domain} permits no server to send: {record}"),
            "add the servers that send to the record",
        );
    }
    Finding::ok(SPF, format!("{domain} has {record}"))
}

async fn dkim(resolver: &Resolver, domain: &str, selector: &str) -> Result<Finding, String> {
    if selector.is_empty() {
        return Ok(Finding::warning(
            DKIM,
            "not checked: channels.mail.dkim_selector is empty",
            "set it to the selector with which the mail server signs: the tag s= in the header DKIM-Signature of a mail",
        ));
    }
    let name = format!("{selector}._domainkey.{domain}");
    let records = resolver.txt(&name).await?.unwrap_or_default();
    let keys: Vec<&str> = records.iter().filter_map(|record| dkim_key(record)).collect();
    Ok(match keys[..] {
        [] => Finding::warning(
            DKIM,
            format!("{name} has no DKIM key: the signatures of the mail server are invalid"),
            "publish the TXT or CNAME record that the mail server or its provider shows, or correct \
             channels.mail.dkim_selector",
        ),
        [""] => Finding::warning(
            DKIM,
            format!("the DKIM key at {name} is revoked (p= is empty)"),
            "sign with another key, and set channels.mail.dkim_selector to its selector",
        ),
        [_] => Finding::ok(DKIM, format!("{name} has a key")),
        _ => Finding::warning(
            DKIM,
            format!("{name} has {} DKIM keys: receivers may use any of them", keys.len()),
            "delete the records that are not in use; each key needs a selector of its own",
        ),
    })
}

/// Returns the key of a DKIM record; an empty one is revoked (RFC 6376, 3.6.1).
fn dkim_key(record: &str) -> Option<&str> {
    let is_version = tag(record, "v").is_none_or(|version| version == "DKIM1");
    tag(record, "p").filter(|_| is_version)
}

/// Checks DMARC of `domain`.
pub(super) async fn dmarc(resolver: &Resolver, domain: &str) -> Finding {
    checked(DMARC, nearest_dmarc(resolver, domain).await)
}

/// The record of the domain applies, or else that of the nearest parent.
async fn nearest_dmarc(resolver: &Resolver, domain: &str) -> Result<Finding, String> {
    let domains: Vec<&str> = with_parents(domain).collect();
    let answers = join_all(domains.iter().map(async |at| resolver.txt(&format!("_dmarc.{at}")).await)).await;
    for (at, answer) in domains.iter().zip(answers) {
        let records = answer?.unwrap_or_default();
        let records: Vec<&String> = records.iter().filter(|record| is_dmarc(record)).collect();
        match records[..] {
            [] => {}
            [record] => return Ok(one_dmarc(at, record)),
            _ => {
                return Ok(Finding::warning(
                    DMARC,
                    format!("_dmarc.{at} has {} DMARC records: receivers use none", records.len()),
                    "delete all but one",
                ));
            }
        }
    }
    Ok(Finding::warning(
        DMARC,
        format!("{domain} has no DMARC record, which large mailbox providers require"),
        format!(
            "publish a TXT record at _dmarc.{domain}: \"v=DMARC1; p=none; rua=mailto:ADDRESS\", where the address gets reports"
        ),
    ))
}

/// Returns the domain and its parents of at least two labels; at most eight names, as in RFC 9989.
fn with_parents(domain: &str) -> impl Iterator<Item = &str> {
    let parents = std::iter::successors(Some(domain), |at| at.split_once('.').map(|(_, parent)| parent));
    parents.enumerate().take_while(|(level, at)| *level == 0 || at.contains('.')).map(|(_, at)| at).take(8)
}

fn is_dmarc(record: &str) -> bool {
    tags(record).next() == Some(("v", "DMARC1"))
}

fn one_dmarc(at: &str, record: &str) -> Finding {
    match tag(record, "p") {
        Some(policy @ ("none" | "quarantine" | "reject")) => {
            Finding::ok(DMARC, format!("_dmarc.{at} has the policy {policy}"))
        }
        _ => Finding::warning(
            DMARC,
            format!("_dmarc.{at} has no valid policy: {record}"),
            "set the tag p to none, quarantine or reject",
        ),
    }
}

fn tag<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    tags(record).find_map(|(tag, value)| (tag == name).then_some(value))
}

/// Returns the tags of a DKIM or DMARC record: `v=DMARC1; p=none`.
fn tags(record: &str) -> impl Iterator<Item = (&str, &str)> {
    record.split(';').filter_map(|tag| tag.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

fn checked(check: &'static str, result: Result<Finding, String>) -> Finding {
    const ADVICE: &str =
        "check /etc/resolv.conf and that firewalls permit DNS, or look up the record elsewhere";
    result.unwrap_or_else(|error| Finding::warning(check, format!("not checked: {error}"), ADVICE))
}

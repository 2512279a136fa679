//! Can greetings leave, and who can come in?

use reqwest::{Method, Url};

use super::{Finding, said};
use crate::config::parts;
use crate::config::source::Sources;
use crate::config::{Config, redact_url, stays_here};
use crate::pipeline::channel::http_client::{HttpClient, HttpError};

/// `tokens` is how many tokens of the API can be used, if that is known.
pub(super) async fn examine(config: &Config, sources: &Sources, tokens: Option<usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match parts::webhook_url(config, sources).await {
        Ok(followed) => {
            let url = followed.watch().borrow().clone();
            let place = &config.webhook.url;
            let found = format!("{}, from {place}", redact_url(url.as_str()));
            findings.push(Finding::ok("webhook.url", found));
            findings.push(match parts::http_client(config) {
                Ok(client) => reachable(&client, &url).await,
                Err(error) => Finding::failure(
                    REACHABLE,
                    said(&error),
                    "give a file that holds the certificates, or leave webhook.tls_root_cert empty",
                ),
            });
            findings.push(encrypted(config, &url));
            findings.push(signed(config, sources, &url).await);
        }
        Err(error) => findings.push(Finding::failure(
            "webhook.url",
            said(&error),
            "give the URL, or see that this machine may read the place that is named",
        )),
    }
    findings.push(messages(config));
    findings.push(stop(config));
    findings.push(listener(config, tokens));
    findings
}

/// What does not compile was refused with the configuration.
fn messages(config: &Config) -> Finding {
    const CHECK: &str = "kinds.message";
    let messages = match parts::messages(config) {
        Ok(messages) => messages,
        Err(error) => return Finding::failure(CHECK, error.to_string(), "write it anew"),
    };
    let gaps: Vec<&str> = messages.kinds_printing_unknown_years().collect();
    if gaps.is_empty() {
        return Finding::ok(CHECK, "each can be said to everybody");
    }
    Finding::warning(
        CHECK,
        format!(
            "the message of {} prints years, which are unknown where a date has no year: these people get a gap there",
            gaps.join(", ")
        ),
        "write {% if years %}…{% endif %} around what needs the year",
    )
}

/// Long enough for what is in flight?
fn stop(config: &Config) -> Finding {
    const CHECK: &str = "worker.drain";
    match config.short_drain() {
        None => Finding::ok(CHECK, format!("{} s at a stop for what is in flight", config.worker.drain_secs)),
        Some(wrong) => Finding::warning(
            CHECK,
            wrong,
            "raise worker.drain_secs, and what the supervisor allows for a stop above it; or lower webhook.timeout_secs",
        ),
    }
}

const REACHABLE: &str = "webhook.reachable";

/// A HEAD: nobody is greeted, and whatever is answered, there is somebody.
async fn reachable(client: &HttpClient, url: &Url) -> Finding {
    let answer = match client.request(Method::HEAD, url.clone()).build() {
        Ok(request) => client.send(request).await,
        Err(error) => Err(HttpError::Http(error)),
    };
    match answer {
        Ok(answer) if answer.status().is_redirection() => Finding::warning(
            REACHABLE,
            format!("it answers {} to HEAD", answer.status()),
            "redirects are not followed: give the URL at which they end",
        ),
        Ok(answer) => {
            let from = answer.remote_addr().map(|from| format!("{from} ")).unwrap_or_default();
            Finding::ok(REACHABLE, format!("{from}answers {} to HEAD", answer.status()))
        }
        Err(HttpError::AddressRefused(refused)) => Finding::failure(
            REACHABLE,
            refused.to_string(),
            "look at webhook.addresses, webhook.allow_ranges and webhook.deny_ranges, and at where the URL leads",
        ),
        Err(error) => {
            let reason = match error {
                HttpError::Http(error) => crate::store::chain(&error.without_url()),
                other => other.to_string(),
            };
            Finding::failure(
                REACHABLE,
                reason,
                "check the host's name, its certificate (webhook.tls_root_cert for an authority of your own), and that \
                 a firewall or security group lets this machine out",
            )
        }
    }
}

fn encrypted(config: &Config, url: &Url) -> Finding {
    const CHECK: &str = "webhook.tls";
    let authorities = match &*config.webhook.tls_root_cert {
        "" => String::new(),
        path => format!(", by the authorities in {path}, too"),
    };
    match url.scheme() {
        "https" => Finding::ok(CHECK, format!("https, and its certificate is checked{authorities}")),
        _ if stays_here(url) => Finding::ok(CHECK, "http, on this machine"),
        _ => Finding::warning(
            CHECK,
            "http (webhook.allow_http): names and birthdays travel in clear",
            "use https, unless this is a network of your own",
        ),
    }
}

async fn signed(config: &Config, sources: &Sources, url: &Url) -> Finding {
    const CHECK: &str = "webhook.secrets";
    match parts::webhook_secrets(config, sources).await {
        Ok(secrets) => match parts::signer(&secrets).secret_count() {
            0 if stays_here(url) => Finding::ok(CHECK, "not signed, on this machine"),
            0 => Finding::warning(
                CHECK,
                "not signed: whoever knows the URL can send greetings in our name",
                "make a secret (`bday webhook secret`), give it to webhook.secrets and to the receiver (docs/receivers.md)",
            ),
            1 => Finding::ok(CHECK, "signed with one secret"),
            n => Finding::ok(CHECK, format!("signed with {n} secrets, as in a rotation")),
        },
        Err(error) => Finding::failure(
            CHECK,
            said(&error),
            "see that this machine may read the place that is named, and that it holds whsec_… (`bday webhook secret`)",
        ),
    }
}

/// `tokens` is the number of live tokens, if known.
fn listener(config: &Config, tokens: Option<usize>) -> Finding {
    const CHECK: &str = "http.listen";
    let listen = config.http.listen;
    if config.http.is_exposed() {
        return Finding::warning(
            CHECK,
            format!(
                "{listen}: http.auth is off, so every machine that reaches it can change users and pause sending"
            ),
            "set http.auth = \"required\" and create a token: `bday token create NAME --scope admin`",
        );
    }
    if !config.http.require_token() {
        return Finding::ok(CHECK, format!("{listen}: http.auth is off, for this machine"));
    }
    match tokens {
        Some(0) => Finding::warning(
            CHECK,
            format!("{listen}: there is no token, so the API and the metrics answer 401"),
            "create one: `bday token create NAME --scope admin`",
        ),
        Some(n) => Finding::ok(CHECK, format!("{listen}: the API requires a token; {n} can be used")),
        None => Finding::warning(
            CHECK,
            format!("{listen}: the API requires a token; unknown whether there is one"),
            "fix the database first",
        ),
    }
}

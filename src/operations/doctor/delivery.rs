//! Checks of the webhook, the messages and the HTTP listener.

use reqwest::{Method, Url};

use super::{Finding, one_line};
use crate::calendar::format_count;
use crate::config::parts;
use crate::config::source::Sources;
use crate::config::{Config, is_local, redact_url};
use crate::model::ChannelName;
use crate::pipeline::channel::http_client::{HttpClient, HttpError};

/// `tokens` is the number of valid API tokens, if known.
pub(super) async fn check(config: &Config, sources: &Sources, tokens: Option<usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.used_channels().contains(&ChannelName::Webhook) {
        findings.extend(webhook(config, sources).await);
    }
    findings.push(messages(config));
    findings.push(drain(config));
    findings.push(listener(config, tokens));
    findings
}

async fn webhook(config: &Config, sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    match parts::webhook_url(config, sources).await {
        Ok(followed) => {
            let url = followed.watch().borrow().clone();
            let source = &config.webhook.url;
            let found = format!("{}, from {source}", redact_url(url.as_str()));
            findings.push(Finding::ok("webhook.url", found));
            findings.push(match parts::http_client(config) {
                Ok(client) => reachable(&client, &url).await,
                Err(error) => Finding::failure(
                    REACHABLE,
                    one_line(&error),
                    "set webhook.tls_root_cert to a file with certificates, or leave it empty",
                ),
            });
            findings.push(encrypted(config, &url));
            findings.push(signed(config, sources, &url).await);
        }
        Err(error) => findings.push(Finding::failure(
            "webhook.url",
            one_line(&error),
            "set the URL; if it is in another place, check that this machine may read it",
        )),
    }
    findings
}

fn messages(config: &Config) -> Finding {
    const CHECK: &str = "kinds.message";
    let messages = match parts::messages(config) {
        Ok(messages) => messages,
        Err(error) => return Finding::failure(CHECK, error.to_string(), "correct the message"),
    };
    let gaps: Vec<&str> = messages.kinds_printing_unknown_years().collect();
    if gaps.is_empty() {
        return Finding::ok(CHECK, "complete for all users");
    }
    Finding::warning(
        CHECK,
        format!("the message of {} prints years, which dates without a year do not have", gaps.join(", ")),
        "write {% if years %}…{% endif %} around the text that needs the year",
    )
}

fn drain(config: &Config) -> Finding {
    const CHECK: &str = "worker.drain";
    match config.short_drain() {
        None => Finding::ok(
            CHECK,
            format!("a stop waits {} s for requests in flight", config.worker.drain.as_secs()),
        ),
        Some(warning) => Finding::warning(
            CHECK,
            warning,
            "the stop timeout of the supervisor must be longer than worker.drain_secs",
        ),
    }
}

const REACHABLE: &str = "webhook.reachable";

/// Sends a HEAD request. Any response counts as reachable.
async fn reachable(client: &HttpClient, url: &Url) -> Finding {
    let answer = match client.request(Method::HEAD, url.clone()).build() {
        Ok(request) => client.send(request).await,
        Err(error) => Err(HttpError::Http(error)),
    };
    match answer {
        Ok(answer) if answer.status().is_redirection() => Finding::warning(
            REACHABLE,
            format!("it answers {} to HEAD", answer.status()),
            "redirects are not followed: set the URL that they lead to",
        ),
        Ok(answer) => {
            let from = answer.remote_addr().map(|from| format!("{from} ")).unwrap_or_default();
            Finding::ok(REACHABLE, format!("{from}answers {} to HEAD", answer.status()))
        }
        Err(HttpError::AddressRefused(refused)) => Finding::failure(
            REACHABLE,
            refused.to_string(),
            "check webhook.addresses, webhook.allow_ranges and webhook.deny_ranges, and the addresses of the host",
        ),
        Err(error) => {
            let reason = match error {
                HttpError::Http(error) => crate::store::chain(&error.without_url()),
                other => other.to_string(),
            };
            Finding::failure(
                REACHABLE,
                reason,
                "check the name of the host, its certificate (webhook.tls_root_cert for a private authority), and that \
                 firewalls and security groups permit requests from this machine",
            )
        }
    }
}

fn encrypted(config: &Config, url: &Url) -> Finding {
    const CHECK: &str = "webhook.tls";
    let authorities = match &*config.webhook.tls_root_cert {
        "" => String::new(),
        path => format!(", also against {path}"),
    };
    match url.scheme() {
        "https" => Finding::ok(CHECK, format!("https; the certificate is verified{authorities}")),
        _ if is_local(url) => Finding::ok(CHECK, "http, on this machine"),
        _ => Finding::warning(
            CHECK,
            "http (webhook.allow_http): names and birthdays are sent unencrypted",
            "use https, unless the network is private",
        ),
    }
}

async fn signed(config: &Config, sources: &Sources, url: &Url) -> Finding {
    const CHECK: &str = "webhook.secrets";
    match parts::webhook_secrets(config, sources).await {
        Ok(secrets) => match parts::signer(&secrets).secret_count() {
            0 if is_local(url) => Finding::ok(CHECK, "not signed, on this machine"),
            0 => Finding::warning(
                CHECK,
                "not signed: the receiver cannot verify the sender",
                "create a secret (`bday webhook secret`), and set it in webhook.secrets and in the receiver (docs/receivers.md)",
            ),
            n => Finding::ok(CHECK, format!("signed with {}", format_count(n, "secret", "secrets"))),
        },
        Err(error) => Finding::failure(
            CHECK,
            one_line(&error),
            "check that this machine may read the source, and that it has whsec_… (`bday webhook secret`)",
        ),
    }
}

fn listener(config: &Config, tokens: Option<usize>) -> Finding {
    const CHECK: &str = "http.listen";
    let listen = config.http.listen;
    if config.http.is_exposed() {
        return Finding::warning(
            CHECK,
            format!(
                "{listen}: http.auth is off, so every machine with access can change users and pause sending"
            ),
            "set http.auth = \"required\" and create a token: `bday token create NAME --scope admin`",
        );
    }
    if !config.http.requires_token() {
        return Finding::ok(CHECK, format!("{listen}: http.auth is off, on this machine only"));
    }
    match tokens {
        Some(0) => Finding::warning(
            CHECK,
            format!("{listen}: there is no token, so the API and the metrics answer 401"),
            "create a token: `bday token create NAME --scope admin`",
        ),
        Some(n) => {
            let valid = format_count(n, "is", "are");
            Finding::ok(CHECK, format!("{listen}: the API requires a token; {valid} valid"))
        }
        None => Finding::warning(
            CHECK,
            format!("{listen}: the API requires a token; the number of tokens is unknown"),
            "correct the database first",
        ),
    }
}

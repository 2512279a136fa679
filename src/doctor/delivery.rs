//! Can greetings leave, and who can come in?

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, Url, redirect};

use super::Finding;
use crate::app;
use crate::config::{Config, redact_url};
use crate::source::Sources;

/// `tokens` is how many tokens of the API can be used, if that is known.
pub(super) async fn examine(config: &Config, sources: &Sources, tokens: Option<usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match app::webhook_url(config, sources).await {
        Ok(followed) => {
            let url = followed.watch().borrow().clone();
            let place = &config.webhook.url;
            let found = format!("{}, from {place}", redact_url(url.as_str()));
            findings.push(Finding::ok("webhook.url", found));
            findings.push(reachable(config, &url).await);
            findings.push(encrypted(&url));
        }
        Err(error) => findings.push(Finding::failure(
            "webhook.url",
            format!("{error:#}"),
            "give the URL, or see that this machine may read the place that is named",
        )),
    }
    findings.push(listener(config, tokens));
    findings
}

/// A HEAD: nobody is greeted, and whatever is answered, there is somebody.
async fn reachable(config: &Config, url: &Url) -> Finding {
    const CHECK: &str = "webhook.reachable";
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(config.webhook.timeout_secs))
        .connect_timeout(Duration::from_secs(config.webhook.connect_timeout_secs))
        .build();
    let answer = match client {
        Ok(client) => client.head(url.clone()).send().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) if answer.status().is_redirection() => Finding::warning(
            CHECK,
            format!("it answers {} to HEAD", answer.status()),
            "redirects are not followed: give the URL at which they end",
        ),
        Ok(answer) => Finding::ok(CHECK, format!("it answers {} to HEAD", answer.status())),
        Err(error) => {
            let reason = crate::scheduler::chain(&error.without_url());
            Finding::failure(
                CHECK,
                reason,
                "check the host's name, its certificate, and that a firewall or security group lets this machine out",
            )
        }
    }
}

fn encrypted(url: &Url) -> Finding {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Finding::ok("webhook.tls", "https, and its certificate is checked"),
        _ if local => Finding::ok("webhook.tls", "http, on this machine"),
        _ => Finding::warning(
            "webhook.tls",
            "http: names and birthdays travel in clear",
            "use https, unless this is a network of your own",
        ),
    }
}

/// `tokens` is how many can be used, if that is known.
fn listener(config: &Config, tokens: Option<usize>) -> Finding {
    const CHECK: &str = "http.listen";
    let listen = config.http.listen;
    if !config.http.needs_token() {
        return Finding::ok(CHECK, format!("{listen}: this machine alone"));
    }
    match tokens {
        Some(0) => Finding::failure(
            CHECK,
            format!("{listen}: the API asks for a token, and there is none"),
            "make one: `bday token create NAME --scope admin`; or listen on loopback, http.listen = \"127.0.0.1:8080\"",
        ),
        Some(n) => Finding::ok(
            CHECK,
            format!("{listen}: the API asks for a token; {n} can be used"),
        ),
        None => Finding::warning(
            CHECK,
            format!("{listen}: the API asks for a token; whether there is one is not known"),
            "put the database right first",
        ),
    }
}

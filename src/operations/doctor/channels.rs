//! Checks of the channels other than the webhook, as far as kinds use them. Sends no greeting.
//!
//! Not checked: the account of SMS by AWS.

use std::time::Duration;

use super::{Finding, Resolver, one_line, sender_domain};
use crate::config::parts::{self, Parts};
use crate::config::twilio::SmsUrl;
use crate::model::ChannelName;
use crate::pipeline::channel::OnUnknown;
use crate::pipeline::channel::mail::{MailCheck, MailUrl, SesAccount, SesIdentity};
use crate::pipeline::channel::slack::{Bot, Endpoint, check_token};
use crate::pipeline::channel::twilio::{TwilioAccount, check_account};

const FETCH: &str = "correct the URL; if it is in another place, check that this machine may read it";

pub(super) async fn check(parts: &Parts<'_>, resolver: &Resolver) -> Vec<Finding> {
    let mut findings = Vec::new();
    for channel in parts.config.used_channels() {
        match channel {
            // Checked by `delivery`.
            ChannelName::Webhook => {}
            ChannelName::Mail => findings.extend(mail(parts, resolver).await),
            ChannelName::Sms => findings.extend(sms(parts).await),
            ChannelName::Slack => findings.extend(slack(parts).await),
            ChannelName::Whatsapp => findings.extend(whatsapp(parts).await),
        }
    }
    findings
}

async fn mail(parts: &Parts<'_>, resolver: &Resolver) -> Vec<Finding> {
    let mut findings = vec![unsubscribe(parts)];
    let (mail, url) = match parts::mail(parts).await {
        Ok(built) => built,
        Err(error) => {
            findings.push(Finding::failure("mail.url", one_line(&error), FETCH));
            return findings;
        }
    };
    let url = url.watch().borrow().clone();
    let source = &parts.config.channels.mail.url;
    let found = match &url {
        MailUrl::Smtp(server) => format!("{}:{}, from {source}", server.host, server.port),
        MailUrl::Ses => format!("Amazon SES, from {source}"),
    };
    findings.push(Finding::ok("mail.url", found));
    match mail.check().await {
        Ok(MailCheck::Smtp(login)) => findings.push(smtp_login(login)),
        Ok(MailCheck::Ses { account, identity }) => {
            findings.push(ses_account(account));
            findings.push(ses_sender(identity));
        }
        Err(error) => findings.push(Finding::failure("mail.login", error, FETCH)),
    }
    let (domain, selector) = (mail.sender_domain(), &parts.config.channels.mail.dkim_selector);
    match &url {
        MailUrl::Smtp(_) => findings.extend(sender_domain::check(resolver, domain, selector).await),
        // SES reports DKIM. Receivers look up SPF at the domain of the envelope, which belongs to SES by default.
        MailUrl::Ses => findings.push(sender_domain::dmarc(resolver, domain).await),
    }
    findings.extend(feedback(parts, &url).await);
    findings
}

fn unsubscribe(parts: &Parts<'_>) -> Finding {
    const CHECK: &str = "mail.unsubscribe";
    match &*parts.config.http.public_url {
        "" => Finding::warning(
            CHECK,
            "http.public_url is empty: mail has no List-Unsubscribe, and mailbox providers may treat it as spam",
            "set http.public_url to the https:// URL under which the Internet reaches this listener",
        ),
        url => Finding::ok(CHECK, format!("List-Unsubscribe leads to {url}")),
    }
}

fn smtp_login(login: Result<(), String>) -> Finding {
    const CHECK: &str = "mail.login";
    match login {
        Ok(()) => Finding::ok(CHECK, "the mail server accepts the connection and the login"),
        Err(error) => Finding::failure(
            CHECK,
            error,
            "check host, port, user and password, the certificate (channels.mail.tls_root_cert for a private authority), and \
             that firewalls permit the port",
        ),
    }
}

fn ses_account(account: Result<SesAccount, String>) -> Finding {
    const CHECK: &str = "mail.account";
    match account {
        Ok(SesAccount { is_sending_enabled: false, .. }) => Finding::failure(
            CHECK,
            "sending is paused for this account of SES",
            "see the account dashboard of SES: AWS pauses an account after bounces or complaints; an administrator can, too",
        ),
        Ok(SesAccount { is_in_sandbox: true, .. }) => Finding::warning(
            CHECK,
            "the account is in the sandbox of SES, which sends to verified addresses only",
            "request production access in the account dashboard of SES",
        ),
        Ok(_) => Finding::ok(CHECK, "SES may send"),
        Err(error) => not_checked(CHECK, error),
    }
}

fn ses_sender(identity: Result<Option<SesIdentity>, String>) -> Finding {
    const CHECK: &str = "mail.sender";
    const VERIFY: &str = "verify the sender's domain in SES: publish the DKIM records that it shows";
    match identity {
        Ok(None) => {
            let found = "SES has neither the address of channels.mail.from nor its domain, in this region";
            Finding::failure(CHECK, found, VERIFY)
        }
        Ok(Some(SesIdentity { name, is_verified: false, .. })) => {
            Finding::failure(CHECK, format!("{name} is not verified in SES"), VERIFY)
        }
        Ok(Some(SesIdentity { name, has_dkim: false, .. })) => Finding::warning(
            CHECK,
            format!("{name} is verified, but mail is not signed with DKIM of this domain"),
            "publish the DKIM records that SES shows: mailbox providers require them",
        ),
        Ok(Some(SesIdentity { name, .. })) => Finding::ok(CHECK, format!("{name} is verified; DKIM signs")),
        Err(error) => not_checked(CHECK, error),
    }
}

/// A missing permission is not a fault of the deployment: the daemon does not need it.
fn not_checked(check: &'static str, error: String) -> Finding {
    if error.ends_with("is not permitted") {
        return Finding::warning(
            check,
            format!("not checked: {error}"),
            "permit it, or check in the console",
        );
    }
    let advice = "check AWS_REGION, the credentials, and that this machine reaches SES";
    Finding::failure(check, error, advice)
}

#[cfg(feature = "aws")]
async fn feedback(parts: &Parts<'_>, url: &MailUrl) -> Option<Finding> {
    const CHECK: &str = "mail.feedback";
    if *url != MailUrl::Ses {
        return None;
    }
    if parts.config.channels.mail.configuration_set.is_empty() {
        return Some(Finding::warning(
            CHECK,
            "channels.mail.configuration_set is empty: bounces and complaints are not reported",
            "create a configuration set with an SNS topic and an SQS queue (docs/operations.md#feedback)",
        ));
    }
    let Some(reader) = parts::feedback_reader(parts.config, parts.store).await else {
        return Some(Finding::warning(
            CHECK,
            "channels.mail.feedback_queue_url is empty: bounces and complaints are not read",
            "set it to the URL of the queue that receives the events of the configuration set",
        ));
    };
    Some(match reader.has_dead_letter_queue().await {
        Ok(true) => Finding::ok(CHECK, "the queue answers, and has a dead-letter queue"),
        Ok(false) => Finding::warning(
            CHECK,
            "the feedback queue has no dead-letter queue: unreadable messages are received again and again",
            "set a redrive policy",
        ),
        Err(error) => Finding::failure(
            CHECK,
            crate::store::chain(&error),
            "check the URL and that this machine may receive from the queue, delete and read its attributes",
        ),
    })
}

#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "as with the feature aws")]
async fn feedback(_: &Parts<'_>, _: &MailUrl) -> Option<Finding> {
    None
}

async fn sms(parts: &Parts<'_>) -> Vec<Finding> {
    let sms = &parts.config.channels.sms;
    let mut findings = Vec::from_iter(repeats("sms.on_unknown", sms.on_unknown));
    match parts::sms_url(parts).await {
        Ok(SmsUrl::Twilio(account)) => {
            findings.push(twilio_account("sms.account", sms.timeout, &account).await);
            findings.push(callbacks("sms.callbacks", parts));
        }
        Ok(SmsUrl::Aws) => findings.push(Finding::ok("sms.url", "aws: (account and sender are not checked)")),
        Ok(SmsUrl::Sns) => findings.push(Finding::ok("sms.url", "sns: (account and sender are not checked)")),
        Err(error) => findings.push(Finding::failure("sms.url", one_line(&error), FETCH)),
    }
    findings
}

async fn whatsapp(parts: &Parts<'_>) -> Vec<Finding> {
    let whatsapp = &parts.config.channels.whatsapp;
    let mut findings = Vec::from_iter(repeats("whatsapp.on_unknown", whatsapp.on_unknown));
    match parts::whatsapp_account(parts).await {
        Ok(account) => {
            findings.push(twilio_account("whatsapp.account", whatsapp.timeout, &account).await);
            findings.push(callbacks("whatsapp.callbacks", parts));
        }
        Err(error) => findings.push(Finding::failure("whatsapp.url", one_line(&error), FETCH)),
    }
    findings
}

fn repeats(check: &'static str, on_unknown: OnUnknown) -> Option<Finding> {
    (on_unknown == OnUnknown::Retry).then(|| {
        Finding::warning(
            check,
            "retry: after a timeout the person may get the greeting twice, since the provider drops no repeats",
            "set on_unknown to give_up, unless a missing greeting is worse",
        )
    })
}

async fn twilio_account(check: &'static str, timeout: Duration, account: &TwilioAccount) -> Finding {
    let state = match parts::twilio_client(timeout) {
        Ok(client) => check_account(&client, account).await,
        Err(error) => Err(one_line(&error)),
    };
    match state {
        Ok(state) if state.status != "active" => Finding::failure(
            check,
            format!("Twilio reports the account as {}", state.status),
            "see Twilio's console: a suspended account sends nothing",
        ),
        Ok(state) if state.is_trial => Finding::warning(
            check,
            "the account is a trial, which sends to verified numbers only",
            "upgrade it in Twilio's console",
        ),
        Ok(_) => Finding::ok(check, "Twilio accepts the token; the account is active"),
        Err(error) => Finding::failure(
            check,
            error,
            "check account SID and auth token in Twilio's console, and that this machine reaches api.twilio.com",
        ),
    }
}

fn callbacks(check: &'static str, parts: &Parts<'_>) -> Finding {
    match parts.config.http.public_base() {
        Some(base) => Finding::ok(check, format!("Twilio reports to {base}")),
        None => Finding::warning(
            check,
            "http.public_url is empty: bday does not learn of undelivered messages, nor of STOP until the next send",
            "set http.public_url to the https:// URL under which the Internet reaches this listener",
        ),
    }
}

async fn slack(parts: &Parts<'_>) -> Vec<Finding> {
    match parts::slack_endpoint(parts.config, parts.sources).await {
        Ok(endpoint) => match endpoint.watch().borrow().clone() {
            Endpoint::Bot(bot) => vec![slack_token(parts, &bot).await],
            Endpoint::Incoming(_) => {
                let found = "an incoming webhook (not checked: every request to it posts a message)";
                vec![Finding::ok("slack.url", found)]
            }
        },
        Err(error) => vec![Finding::failure("slack.url", one_line(&error), FETCH)],
    }
}

async fn slack_token(parts: &Parts<'_>, bot: &Bot) -> Finding {
    const CHECK: &str = "slack.token";
    const SCOPES: &str =
        "add the scope to the app (OAuth & Permissions), install it again, and set the new token";
    let scopes = match parts::slack_client(parts.config) {
        Ok(client) => check_token(&client, bot, parts.clock).await.map_err(|error| error.to_string()),
        Err(error) => Err(one_line(&error)),
    };
    let scopes = match scopes {
        Ok(scopes) => scopes,
        Err(error) => {
            let advice =
                "set channels.slack.url to slack://TOKEN@slack.com with the bot token of the app (xoxb-…)";
            return Finding::failure(CHECK, error, advice);
        }
    };
    let missing: Vec<&str> = scopes.missing().collect();
    let found = format!("Slack accepts the token, which lacks {}", missing.join(", "));
    if missing.is_empty() {
        Finding::ok(CHECK, "Slack accepts the token, which has the scopes chat:write and users:read.email")
    } else if scopes.can_post() {
        let found = format!("{found}: users of whom only an email address is known are not found");
        Finding::warning(CHECK, found, SCOPES)
    } else {
        Finding::failure(CHECK, found, SCOPES)
    }
}

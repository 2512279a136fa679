//! The section `[channels.mail]`, and `http.public_url`.

use lettre::message::Mailbox;

use super::{Config, MailConfig, is_local};
use crate::model::ChannelName;
use crate::pipeline::channel::mail::{MailSender, MailUrl, MailUrlError};

impl Config {
    /// Returns an error for each invalid value. A URL from another source is checked when it is fetched.
    pub(super) fn mail_errors(&self) -> Vec<String> {
        let mail = &self.channels.mail;
        let is_used = self.used_channels().contains(&ChannelName::Mail);
        let url = mail.url.literal().filter(|url| !url.is_empty());
        let url = url.and_then(|url| parse_url(url, mail.allow_unencrypted).err());
        let url = url.map(|error| format!("channels.mail.url {error}"));
        let sender = (is_used || !mail.from.is_empty()).then(|| sender(mail).err()).flatten();
        url.into_iter().chain(sender).chain(selector_error(mail)).chain(self.public_url_error()).collect()
    }

    fn public_url_error(&self) -> Option<String> {
        let given = &self.http.public_url;
        if given.is_empty() {
            return None;
        }
        let url = reqwest::Url::parse(given).ok().filter(|url| {
            (url.scheme() == "https" || url.scheme() == "http" && is_local(url))
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        });
        url.is_none().then(|| {
            format!(
                "http.public_url is {:?}: give the https:// URL of this listener on the Internet, such as \
                 https://bday.example.org, or leave it empty",
                super::redact_url(given)
            )
        })
    }
}

pub(super) fn parse_url(text: &str, allow_unencrypted: bool) -> Result<MailUrl, MailUrlError> {
    MailUrl::parse(text)?.permitted(allow_unencrypted)
}

pub(super) fn sender(mail: &MailConfig) -> Result<MailSender, String> {
    let from = mailbox("from", &mail.from)?;
    let reply_to = if mail.reply_to.is_empty() { None } else { Some(mailbox("reply_to", &mail.reply_to)?) };
    Ok(MailSender { from, reply_to })
}

fn selector_error(mail: &MailConfig) -> Option<String> {
    let selector = &mail.dkim_selector;
    let is_valid = selector.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char));
    (!is_valid).then(|| {
        format!(
            "channels.mail.dkim_selector is {selector:?}: give the part before ._domainkey, such as mail2026"
        )
    })
}

fn mailbox(key: &str, text: &str) -> Result<Mailbox, String> {
    let advice =
        "give an address such as greetings@example.org, or with a name: Example Ltd <greetings@example.org>";
    if text.is_empty() {
        return Err(format!("channels.mail.{key} is empty: {advice}"));
    }
    let mailbox: Option<Mailbox> = text.parse().ok().filter(|_| !text.contains(char::is_control));
    let mailbox = mailbox
        .ok_or_else(|| format!("channels.mail.{key} is {text:?}, which is not a mail address: {advice}"))?;
    if mailbox.email.to_string().is_ascii() {
        return Ok(mailbox);
    }
    Err(format!(
        "channels.mail.{key} is {text:?}, whose address has characters other than ASCII, which few servers accept: write the \
         domain as xn--…"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{Variables, load};

    fn errors(variables: &[(&str, &str)]) -> String {
        let given = variables.iter().map(|(key, value)| (format!("BDAY__{key}"), (*value).to_owned()));
        load(None, given.collect::<Variables>()).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn an_invalid_mail_section_is_refused_with_its_key_and_without_the_password() {
        let used = ("KINDS__BIRTHDAY__CHANNELS", "mail");
        let url = ("CHANNELS__MAIL__URL", "smtp://u:hunter2@127.0.0.1");
        let from = ("CHANNELS__MAIL__FROM", "Größe & Co <greetings@example.org>");
        assert_eq!(errors(&[used, url, from]), "");
        let unencrypted = ("CHANNELS__MAIL__URL", "smtp://inbox:1025?tls=none");
        assert_eq!(errors(&[used, unencrypted, from, ("CHANNELS__MAIL__ALLOW_UNENCRYPTED", "true")]), "");
        for (given, expected) in [
            (vec![used, url], "channels.mail.from is empty"),
            (vec![used, url, ("CHANNELS__MAIL__FROM", "greetings")], "channels.mail.from is \"greetings\""),
            (vec![("CHANNELS__MAIL__FROM", "a@b\r\nBcc: c@d")], "channels.mail.from is"),
            (vec![used, from, ("CHANNELS__MAIL__REPLY_TO", "x")], "channels.mail.reply_to is \"x\""),
            (
                vec![("CHANNELS__MAIL__URL", "imap://u:hunter2@h")],
                "channels.mail.url has the scheme \"imap\"",
            ),
            (vec![("CHANNELS__MAIL__URL", "smtp://u:hunter2/@h")], "channels.mail.url "),
            (vec![used, unencrypted, from], "set channels.mail.allow_unencrypted = true"),
            (vec![("HTTP__PUBLIC_URL", "http://example.org")], "http.public_url is \"http://example.org\""),
            (
                vec![used, from, url, ("CHANNELS__MAIL__TIMEOUT_SECS", "26")],
                "channels.mail.timeout_secs is 26",
            ),
            (vec![used, from, url, ("CHANNELS__MAIL__TIMEOUT_SECS", "0")], "channels.mail.timeout_secs is 0"),
            (vec![("CHANNELS__MAIL__FROM", "a@größe.example")], "write the domain as xn--"),
            (vec![("CHANNELS__MAIL__DKIM_SELECTOR", "s1 ")], "channels.mail.dkim_selector is \"s1 \""),
            (vec![("HTTP__PUBLIC_URL", "bday.example.org")], "http.public_url"),
        ] {
            let error = errors(&given);
            assert!(error.contains(expected), "{given:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(errors(&[("HTTP__PUBLIC_URL", "https://example.org/bday/")]), "");
    }
}

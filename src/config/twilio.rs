//! The URLs and senders of SMS and `WhatsApp`. No error repeats a URL, because it contains a token.

use reqwest::Url;

use super::url::is_local;
use super::{Config, HttpConfig};
use crate::config::source::Reference;
use crate::model::ChannelName;
use crate::pipeline::channel::twilio::TwilioAccount;

const TWILIO: &str = "twilio://ACCOUNT_SID:AUTH_TOKEN@api.twilio.com";

/// Where SMS are sent.
#[derive(Debug, Clone, PartialEq)]
pub enum SmsUrl {
    /// AWS End User Messaging.
    Aws,
    Sns,
    Twilio(TwilioAccount),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TwilioUrlError {
    #[error("is not aws:, sns: or {TWILIO}")]
    NoSmsUrl,
    #[error("is not {TWILIO}")]
    NoTwilioUrl,
    #[error("has no account SID: give {TWILIO}; the SID is AC and 32 hexadecimal digits")]
    Sid,
    #[error(
        "has an API key: give the SID and the auth token of the account, which also signs Twilio's callbacks"
    )]
    ApiKey,
    #[error("has no auth token: give {TWILIO}")]
    Token,
    #[error("has a path or a query: give {TWILIO}")]
    Path,
    #[error("is twilio+http:// to another machine, which sends the token unencrypted: give {TWILIO}")]
    Unencrypted,
    #[error("needs the feature {0}, which this binary was built without; build it with the default features")]
    Feature(&'static str),
}

pub fn parse_sms_url(text: &str) -> Result<SmsUrl, TwilioUrlError> {
    let aws = |url| if cfg!(feature = "aws") { Ok(url) } else { Err(TwilioUrlError::Feature("aws")) };
    match text.trim() {
        "aws:" => aws(SmsUrl::Aws),
        "sns:" => aws(SmsUrl::Sns),
        text if text.starts_with("twilio") => parse_twilio_url(text).map(SmsUrl::Twilio),
        _ => Err(TwilioUrlError::NoSmsUrl),
    }
}

/// Parses `twilio://SID:TOKEN@HOST`, or `twilio+http://` with a host of this machine. SID and token are percent-decoded.
pub fn parse_twilio_url(text: &str) -> Result<TwilioAccount, TwilioUrlError> {
    let url = Url::parse(text.trim()).map_err(|_| TwilioUrlError::NoTwilioUrl)?;
    let scheme = match url.scheme() {
        "twilio" => "https",
        "twilio+http" => "http",
        _ => return Err(TwilioUrlError::NoTwilioUrl),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(TwilioUrlError::NoTwilioUrl)?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(TwilioUrlError::Path);
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let base = Url::parse(&format!("{scheme}://{host}{port}/")).map_err(|_| TwilioUrlError::NoTwilioUrl)?;
    if scheme == "http" && !is_local(&base) {
        return Err(TwilioUrlError::Unencrypted);
    }
    if scheme == "https" && !cfg!(feature = "tls") {
        return Err(TwilioUrlError::Feature("tls"));
    }
    let sid = percent_decoded(url.username());
    if sid.starts_with("SK") {
        return Err(TwilioUrlError::ApiKey);
    }
    let is_sid = sid.strip_prefix("AC").is_some_and(|hex| hex.len() == 32 && is_alphanumeric(hex));
    if !is_sid {
        return Err(TwilioUrlError::Sid);
    }
    let token = url.password().map(percent_decoded).filter(|token| !token.is_empty());
    Ok(TwilioAccount { base, sid, token: token.ok_or(TwilioUrlError::Token)?.into() })
}

/// Decodes a user or a password of a URL, where `+` and `&` stand for themselves.
fn percent_decoded(text: &str) -> String {
    let form = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn is_alphanumeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_messaging_service(text: &str) -> bool {
    text.len() == 34 && text.starts_with("MG") && is_alphanumeric(text)
}

/// A sender id has a letter; a short code has digits only.
fn is_sender_id(text: &str) -> bool {
    let permitted = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'_' | b'&');
    (1..=11).contains(&text.len()) && text.bytes().all(permitted)
}

impl HttpConfig {
    /// Returns `http.public_url` without a slash at its end, if it is given.
    #[must_use]
    pub fn public_base(&self) -> Option<String> {
        let base = self.public_url.trim().trim_end_matches('/');
        (!base.is_empty()).then(|| base.to_owned())
    }
}

impl Config {
    /// Returns whether callbacks of Twilio may arrive: as far as known before a URL from another source is fetched.
    #[must_use]
    pub fn may_use_twilio(&self) -> bool {
        let may = |url: &Reference| url.literal().is_none_or(|url| url.trim_start().starts_with("twilio"));
        self.http.public_base().is_some() && (may(&self.channels.sms.url) || may(&self.channels.whatsapp.url))
    }

    /// Returns the errors of the URLs. One from another source is checked when it is fetched.
    pub(super) fn telephone_url_errors(&self) -> Vec<String> {
        let Config { channels, http, .. } = self;
        let given = |url: &Reference| url.literal().filter(|url| !url.is_empty()).map(ToOwned::to_owned);
        let sms = given(&channels.sms.url).and_then(|url| parse_sms_url(&url).err());
        let whatsapp = given(&channels.whatsapp.url).and_then(|url| parse_twilio_url(&url).err());
        let is_public = |url: &Url| url.scheme() == "https" || url.scheme() == "http" && is_local(url);
        let public_url = http.public_base().filter(|base| !Url::parse(base).is_ok_and(|url| is_public(&url)));
        let errors = [
            sms.map(|error| format!("channels.sms.url {error}")),
            whatsapp.map(|error| format!("channels.whatsapp.url {error}")),
            public_url.map(|url| {
                format!(
                    "http.public_url is {url:?}: give the https:// URL under which the Internet reaches this listener"
                )
            }),
        ];
        errors.into_iter().flatten().collect()
    }

    /// Returns the errors of the senders that a kind uses.
    pub(super) fn telephone_sender_errors(&self) -> Vec<String> {
        let used = self.used_channels();
        let sms = used.contains(&ChannelName::Sms).then(|| self.sms_sender_error());
        let whatsapp = used.contains(&ChannelName::Whatsapp).then(|| self.whatsapp_sender_error());
        [sms, whatsapp].into_iter().flatten().flatten().collect()
    }

    fn sms_sender_error(&self) -> Option<String> {
        let from = self.channels.sms.from.as_str();
        let (fits, expected) = match parse_sms_url(self.channels.sms.url.literal()?).ok()? {
            // An id or an ARN of AWS, which has many forms.
            SmsUrl::Aws => (true, ""),
            SmsUrl::Sns => (
                from.is_empty() || is_number(from) || is_sender_id(from),
                "a number (+15005550006) or a sender id of up to 11 letters and digits",
            ),
            SmsUrl::Twilio(_) => (
                is_number(from) || is_messaging_service(from) || is_sender_id(from),
                "a number (+15005550006), a sender id of up to 11 letters and digits, or the id of a messaging service \
                 (MG…)",
            ),
        };
        (!fits).then(|| format!("channels.sms.from is {from:?}: set BDAY__CHANNELS__SMS__FROM to {expected}"))
    }

    fn whatsapp_sender_error(&self) -> Option<String> {
        if self.channels.whatsapp.url.is_empty() {
            return None;
        }
        let from = self.channels.whatsapp.from.as_str();
        let fits = is_number(from) || is_messaging_service(from);
        (!fits).then(|| {
            format!(
                "channels.whatsapp.from is {from:?}: set BDAY__CHANNELS__WHATSAPP__FROM to a number (+15005550006, \
                 without whatsapp:) or the id of a messaging service (MG…)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::load;
    use super::*;

    const SID: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_url_names_the_server_and_the_credentials() {
        let account =
            parse_twilio_url(&format!("twilio://{SID}:s%2Fec+r%40t@api.twilio.com")).expect("a URL");
        assert_eq!(account.base.as_str(), "https://api.twilio.com/");
        assert_eq!(account.sid, SID);
        assert_eq!(account.token.expose_secret(), "s/ec+r@t");
        let account = parse_twilio_url(&format!("twilio+http://{SID}:t@127.0.0.1:4010/")).expect("a URL");
        assert_eq!(account.base.as_str(), "http://127.0.0.1:4010/");
        assert!(!format!("{account:?}").contains(SID));
        assert_eq!(parse_sms_url(" aws: "), Ok(SmsUrl::Aws));
        assert_eq!(parse_sms_url("sns:"), Ok(SmsUrl::Sns));
    }

    #[test]
    fn an_error_of_a_url_says_what_to_do_and_not_the_token() {
        use TwilioUrlError::*;
        for (url, expected) in [
            ("api.twilio.com".to_owned(), NoTwilioUrl),
            (format!("https://{SID}:hunter2@api.twilio.com"), NoTwilioUrl),
            (format!("twilio://{SID}:hunter2@"), NoTwilioUrl),
            ("twilio://api.twilio.com".to_owned(), Sid),
            ("twilio://ACshort:hunter2@api.twilio.com".to_owned(), Sid),
            ("twilio://SKaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:hunter2@api.twilio.com".to_owned(), ApiKey),
            (format!("twilio://{SID}@api.twilio.com"), Token),
            (format!("twilio://{SID}:@api.twilio.com"), Token),
            (format!("twilio://{SID}:hunter2@api.twilio.com/v1"), Path),
            (format!("twilio://{SID}:hunter2@api.twilio.com?x=1"), Path),
            (format!("twilio+http://{SID}:hunter2@api.twilio.com"), Unencrypted),
        ] {
            let error = parse_twilio_url(&url).expect_err("an error");
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().contains("hunter2"));
        }
        assert_eq!(parse_sms_url("smtp://x"), Err(NoSmsUrl));
    }

    #[test]
    fn a_number_in_a_variable_keeps_its_plus() {
        let variables =
            ["SMS", "WHATSAPP"].map(|name| (format!("BDAY__CHANNELS__{name}__FROM"), "+15005550006".into()));
        let channels = load(None, variables.into_iter().collect()).expect("a valid configuration").channels;
        assert_eq!([channels.sms.from, channels.whatsapp.from], ["+15005550006"; 2]);
    }

    #[test]
    fn a_sender_is_a_number_an_id_or_a_service() {
        assert!(is_number("+15005550006") && !is_number("15005550006") && !is_number("+1 500 555 0006"));
        assert!(is_messaging_service("MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") && !is_messaging_service("MGa"));
        assert!(is_sender_id("Example") && is_sender_id("12345") && !is_sender_id("Example Limited"));
        assert!(!is_sender_id("") && !is_sender_id("whatsapp:+1"));
    }
}

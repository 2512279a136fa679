//! The URL of the mail server.

use std::fmt;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::pipeline::channel::http_client::literal_address;

const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailUrl {
    Smtp(SmtpServer),
    /// Amazon SES; region and credentials from the usual AWS variables.
    Ses,
}

#[derive(Clone, PartialEq, Eq)]
pub struct SmtpServer {
    /// Without brackets around an IPv6 address.
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
    /// User and password.
    pub login: Option<(String, String)>,
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS; a server that does not offer it gets nothing.
    StartTls,
    /// STARTTLS if the server offers it: only for servers on this machine.
    Opportunistic,
    /// `?tls=none`: for a mail catcher in a test network.
    None,
}

/// The error does not repeat the URL, which may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailUrlError {
    #[error("is empty: give smtp://user:password@host:587, smtps://user:password@host, or ses:")]
    Empty,
    #[error(
        "is not a URL ({0}): give smtp://user:password@host:587, smtps://user:password@host, or ses:; in user and password, \
         write @ as %40, / as %2F and : as %3A"
    )]
    Invalid(String),
    #[error("has the scheme {0:?}; it must be smtp, smtps or ses")]
    Scheme(String),
    #[error("has something after host and port: remove it")]
    Rest,
    #[error(
        "has tls=none, which sends names and birthdays unencrypted: set channels.mail.allow_unencrypted = true if that is wanted, \
         or remove tls=none"
    )]
    Unencrypted,
    #[error("has tls=none and a password, which would be sent unencrypted: remove one of them")]
    UnencryptedLogin,
    #[error("has a user or password that is not UTF-8 when percent-decoded")]
    NotUtf8,
    #[error("has a user without a password, or a password without a user: give both or neither")]
    HalfLogin,
    #[error(
        "needs encryption: this binary was built without the feature tls; build it with the default features, or use a mail \
         server on this machine (smtp://127.0.0.1:25)"
    )]
    NoTls,
    #[error("is ses: this binary was built without the feature aws; build it with the default features")]
    NoAws,
}

impl MailUrl {
    pub fn parse(text: &str) -> Result<Self, MailUrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(MailUrlError::Empty);
        }
        let url = Url::parse(text).map_err(|error| MailUrlError::Invalid(error.to_string()))?;
        let (port, is_wrapped) = match url.scheme() {
            "ses" if url.as_str() == "ses:" => {
                return if cfg!(feature = "aws") { Ok(Self::Ses) } else { Err(MailUrlError::NoAws) };
            }
            "ses" => return Err(MailUrlError::Rest),
            "smtp" => (SUBMISSION_PORT, false),
            "smtps" => (SUBMISSIONS_PORT, true),
            scheme => return Err(MailUrlError::Scheme(scheme.to_owned())),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| MailUrlError::Invalid("it has no host".to_owned()))?;
        let without_tls = !is_wrapped && url.query() == Some("tls=none");
        if !matches!(url.path(), "" | "/")
            || url.query().is_some() && !without_tls
            || url.fragment().is_some()
        {
            return Err(MailUrlError::Rest);
        }
        let encryption = match (is_wrapped, is_local(&url)) {
            _ if without_tls => Encryption::None,
            (true, _) => Encryption::Tls,
            (false, false) => Encryption::StartTls,
            (false, true) => Encryption::Opportunistic,
        };
        if !cfg!(feature = "tls") && matches!(encryption, Encryption::Tls | Encryption::StartTls) {
            return Err(MailUrlError::NoTls);
        }
        Ok(Self::Smtp(SmtpServer {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            encryption,
            login: login(&url)?,
        }))
    }

    /// Refuses `tls=none` unless it is allowed, and always with a password.
    pub fn permitted(self, allow_unencrypted: bool) -> Result<Self, MailUrlError> {
        match &self {
            Self::Smtp(SmtpServer { encryption: Encryption::None, login, .. }) if login.is_some() => {
                Err(MailUrlError::UnencryptedLogin)
            }
            Self::Smtp(SmtpServer { encryption: Encryption::None, .. }) if !allow_unencrypted => {
                Err(MailUrlError::Unencrypted)
            }
            Self::Smtp(_) | Self::Ses => Ok(self),
        }
    }
}

fn login(url: &Url) -> Result<Option<(String, String)>, MailUrlError> {
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(MailUrlError::NotUtf8),
    };
    match (decode(url.username())?, decode(url.password().unwrap_or_default())?) {
        (user, password) if user.is_empty() && password.is_empty() => Ok(None),
        (user, password) if user.is_empty() || password.is_empty() => Err(MailUrlError::HalfLogin),
        login => Ok(Some(login)),
    }
}

/// Returns whether connections to `url` stay on this machine.
fn is_local(url: &Url) -> bool {
    match literal_address(url) {
        Some(address) => address.to_canonical().is_loopback(),
        None => url.host_str().is_some_and(|host| host.eq_ignore_ascii_case("localhost")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> SmtpServer {
        match MailUrl::parse(text) {
            Ok(MailUrl::Smtp(server)) => server,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn the_scheme_and_the_host_decide_about_encryption() {
        for (url, host, port, encryption) in [
            ("smtp://mail.example.org", "mail.example.org", 587, Encryption::StartTls),
            ("smtp://mail.example.org:25/", "mail.example.org", 25, Encryption::StartTls),
            ("smtp://10.0.0.1", "10.0.0.1", 587, Encryption::StartTls),
            ("smtp://localhost.example.org", "localhost.example.org", 587, Encryption::StartTls),
            ("smtps://mail.example.org", "mail.example.org", 465, Encryption::Tls),
            ("smtps://localhost:1465", "localhost", 1465, Encryption::Tls),
            ("smtp://LOCALHOST:1025", "LOCALHOST", 1025, Encryption::Opportunistic),
            ("smtp://127.0.0.1:1025", "127.0.0.1", 1025, Encryption::Opportunistic),
            ("smtp://[::1]:1025", "::1", 1025, Encryption::Opportunistic),
        ] {
            let found = server(url);
            assert_eq!(
                (found.host.as_str(), found.port, found.encryption),
                (host, port, encryption),
                "{url}"
            );
        }
    }

    #[test]
    fn no_encryption_must_be_allowed_and_never_goes_with_a_password() {
        let parse = |text: &str| MailUrl::parse(text).expect(text);
        let catcher = parse("smtp://inbox:1025?tls=none");
        assert!(matches!(&catcher, MailUrl::Smtp(server) if server.encryption == Encryption::None));
        assert_eq!(catcher.clone().permitted(false), Err(MailUrlError::Unencrypted));
        assert_eq!(catcher.clone().permitted(true), Ok(catcher));
        let with_password = parse("smtp://u:p@inbox:1025?tls=none");
        assert_eq!(with_password.permitted(true), Err(MailUrlError::UnencryptedLogin));
        let local = parse("smtp://u:p@127.0.0.1");
        assert_eq!(local.clone().permitted(false), Ok(local));
        for other in ["smtps://inbox?tls=none", "smtp://inbox?tls=off", "smtp://inbox?tls=none&x=1"] {
            assert_eq!(MailUrl::parse(other), Err(MailUrlError::Rest), "{other}");
        }
    }

    #[test]
    fn user_and_password_are_percent_decoded() {
        let login = server("smtp://greetings%40example.org:p%2Fw%3A%C3%A9+%25@127.0.0.1").login;
        assert_eq!(login, Some(("greetings@example.org".to_owned(), "p/w:é+%".to_owned())));
        assert_eq!(server("smtp://127.0.0.1").login, None);
        assert_eq!(MailUrl::parse("smtp://user@127.0.0.1"), Err(MailUrlError::HalfLogin));
        assert_eq!(MailUrl::parse("smtp://u:%ff@127.0.0.1"), Err(MailUrlError::NotUtf8));
    }

    #[test]
    fn the_password_is_in_no_error_and_no_debug_output() {
        for url in [
            "smtp://user:hunter2@127.0.0.1:99999",
            "smtp://user:hunter2@127.0.0.1/path",
            "smtp://user:hunter2@127.0.0.1?hunter2",
            "smtp://user:hunter2/@mail.example.org",
            "imap://user:hunter2@mail.example.org",
            "ses:hunter2",
            "smtp:hunter2",
        ] {
            let error = MailUrl::parse(url).expect_err(url);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", server("smtp://user:hunter2@127.0.0.1")).contains("hunter2"));
        assert_eq!(MailUrl::parse(" "), Err(MailUrlError::Empty));
        let ses = if cfg!(feature = "aws") { Ok(MailUrl::Ses) } else { Err(MailUrlError::NoAws) };
        assert_eq!(MailUrl::parse("ses:"), ses);
    }
}

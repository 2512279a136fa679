//! Removes secrets from values before they are shown.

use reqwest::Url;

use crate::config::source::Reference;

const REDACTED: &str = "[redacted]";

/// Returns a URL without user, password, query and path (the path of a webhook is often a secret).
#[must_use]
pub fn redact_url(url: &str) -> String {
    match split_server(url) {
        Some((server, path @ ("" | "/"))) => format!("{server}{path}"),
        Some((server, _)) => format!("{server}/{REDACTED}"),
        None if url.is_empty() => String::new(),
        None => REDACTED.to_owned(),
    }
}

/// Keeps the path: the name of a database is not secret.
fn redact_all_but_path(url: &str) -> String {
    match split_server(url) {
        Some((server, rest)) => {
            let name = rest.split(['?', '#']).next().unwrap_or_default();
            format!("{server}{name}")
        }
        None => redact_url(url),
    }
}

/// Splits a URL into `scheme://host:port` and the rest. Returns `None` for an ambiguous URL: after a password with an
/// unencoded slash, the rest contains the `@`.
fn split_server(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(at);
    if rest.contains('@') || Url::parse(url).is_err() {
        return None;
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    Some((format!("{scheme}://{host}"), rest))
}

/// Keys whose values are secret or may contain a secret.
pub(super) const SOURCES: [&str; 10] = [
    "database.url",
    "database.password",
    "database.credentials",
    "webhook.url",
    "webhook.secrets",
    "channels.mail.url",
    "channels.sms.url",
    "channels.slack.url",
    "channels.whatsapp.url",
    "traces.headers",
];

/// Returns the value of `key` without secrets. The place where a value is stored is not secret.
pub(super) fn redact(key: &str, value: &str) -> String {
    if key == "webhook.secrets" && value.contains(',') {
        let each: Vec<String> = value.split(',').map(|secret| redact(key, secret.trim())).collect();
        return each.join(",");
    }
    if SOURCES.contains(&key)
        && let Ok(reference) = value.parse::<Reference>()
        && reference.literal().is_none()
    {
        return reference.to_string();
    }
    match key {
        "database.url" | "traces.url" => redact_all_but_path(value),
        "webhook.url" => redact_url(value),
        // A service without further values, such as `ses:`.
        _ if key.starts_with("channels.")
            && value.split_once(':').is_some_and(|(_, rest)| rest.is_empty()) =>
        {
            value.to_owned()
        }
        "channels.mail.url" | "channels.sms.url" | "channels.slack.url" | "channels.whatsapp.url" => {
            redact_url(value)
        }
        "database.password" | "database.credentials" | "webhook.secrets" | "traces.headers"
            if !value.is_empty() =>
        {
            REDACTED.to_owned()
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_a_path_and_a_query_are_not_shown() {
        assert_eq!(
            redact_url("https://u:p@example.org:8443/abc-123?token=x"),
            "https://example.org:8443/[redacted]"
        );
        assert_eq!(redact_url("http://127.0.0.1:9"), "http://127.0.0.1:9");
        assert_eq!(redact_url("hunter2"), "[redacted]");
        assert_eq!(redact("database.password", "hunter2"), "[redacted]");
        assert_eq!(redact("database.password", ""), "");
        assert_eq!(redact("worker.max_in_flight", "7"), "7");
    }

    #[test]
    fn the_server_and_the_name_of_a_database_are_shown() {
        for (url, expected) in [
            ("postgres://u:p@db:5432/bday?sslmode=require", "postgres://db:5432/bday"),
            ("postgres://db/bday", "postgres://db/bday"),
            ("postgresql://u:p@[::1]/bday", "postgresql://[::1]/bday"),
            ("postgres://u@db", "postgres://db"),
            ("postgres://u:p@db?sslrootcert=/etc/ssl/rds.pem", "postgres://db"),
            ("postgres:///bday?host=/run/postgresql&password=hunter2", "postgres:///bday"),
            ("postgres://db/bday?sslmode=verify-full&sslrootcert=/etc/ssl/rds.pem", "postgres://db/bday"),
            ("postgres://db/bday?user=u&password=hunter2/hunter2", "postgres://db/bday"),
            ("postgres://u:hunter2/hunter2@db/bday", "[redacted]"),
            ("postgres://u:7/hunter2@db/bday", "[redacted]"),
            ("postgres://u:7?hunter2@db/bday", "[redacted]"),
            ("postgres://u:hunter2#hunter2@db/bday", "[redacted]"),
            ("postgres://u:hunter2/bday", "[redacted]"),
            ("host=db password=hunter2", "[redacted]"),
        ] {
            assert_eq!(redact("database.url", url), expected, "{url}");
        }
        assert_eq!(redact_url("https://u:7/hunter2@example.org/hook"), "[redacted]");
    }

    #[test]
    fn the_source_of_a_secret_is_shown() {
        for key in SOURCES {
            assert_eq!(redact(key, "ssm:/bday/x"), "ssm:/bday/x");
        }
        assert_eq!(redact("webhook.url", "https://example.org/ssm:x"), "https://example.org/[redacted]");
        assert_eq!(
            redact("webhook.secrets", "whsec_bmV3, env:OLD,hunter2,file:/run/x"),
            "[redacted],env:OLD,[redacted],file:/run/x"
        );
    }
}

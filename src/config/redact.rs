//! Values without their secrets.

use reqwest::Url;

use crate::config::source::Reference;

const REDACTED: &str = "[redacted]";

/// A URL without user, password, query and path (the path of a webhook is often a secret).
#[must_use]
pub fn redact_url(url: &str) -> String {
    match parts(url) {
        Some((server, path @ ("" | "/"))) => format!("{server}{path}"),
        Some((server, _)) => format!("{server}/{REDACTED}"),
        None if url.is_empty() => String::new(),
        None => REDACTED.to_owned(),
    }
}

/// The URL of a database with its name, which is not secret.
fn database_url(url: &str) -> String {
    match parts(url) {
        Some((server, rest)) => {
            let name = rest.split(['?', '#']).next().unwrap_or_default();
            format!("{server}{name}")
        }
        None => redact_url(url),
    }
}

/// `scheme://host:port` and the rest; none if the two cannot be told apart: after a password with an unencoded slash the
/// rest has the `@`.
fn parts(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(at);
    if rest.contains('@') || Url::parse(url).is_err() {
        return None;
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    Some((format!("{scheme}://{host}"), rest))
}

/// The keys whose values are secret, or may contain a secret. Each may be stored elsewhere.
pub(super) const SOURCES: [&str; 5] =
    ["database.url", "database.password", "database.credentials", "webhook.url", "webhook.secrets"];

/// How to show the value of `key`. The place where a value is stored is not secret.
pub(super) fn shown(key: &str, value: &str) -> String {
    if key == "webhook.secrets" && value.contains(',') {
        let each: Vec<String> = value.split(',').map(|secret| shown(key, secret.trim())).collect();
        return each.join(",");
    }
    if SOURCES.contains(&key)
        && let Ok(place) = value.parse::<Reference>()
        && place.literal().is_none()
    {
        return place.to_string();
    }
    match key {
        "database.url" => database_url(value),
        "webhook.url" => redact_url(value),
        "database.password" | "database.credentials" | "webhook.secrets" if !value.is_empty() => {
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
        assert_eq!(shown("database.password", "hunter2"), "[redacted]");
        assert_eq!(shown("database.password", ""), "");
        assert_eq!(shown("worker.max_in_flight", "7"), "7");
    }

    #[test]
    fn of_a_database_the_server_and_the_name_are_shown() {
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
            assert_eq!(shown("database.url", url), expected, "{url}");
        }
        assert_eq!(redact_url("https://u:7/hunter2@example.org/hook"), "[redacted]");
    }

    #[test]
    fn where_a_secret_lives_is_shown() {
        for key in SOURCES {
            assert_eq!(shown(key, "ssm:/bday/x"), "ssm:/bday/x");
        }
        assert_eq!(shown("webhook.url", "https://example.org/ssm:x"), "https://example.org/[redacted]");
        assert_eq!(
            shown("webhook.secrets", "whsec_bmV3, env:OLD,hunter2,file:/run/x"),
            "[redacted],env:OLD,[redacted],file:/run/x"
        );
    }
}

//! What of a value may be shown.

use crate::source::Reference;

/// A URL without what could be a secret: no user, no password, no query, and of the path only that there is one (the
/// path of a webhook is often a capability).
#[must_use]
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() {
            String::new()
        } else {
            "[redacted]".to_owned()
        };
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = if matches!(path, "" | "/") {
        path
    } else {
        "/[redacted]"
    };
    format!("{scheme}://{host}{path}")
}

/// The keys whose values are secret, or may hold one. Each may live elsewhere.
pub(super) const SOURCES: [&str; 5] = [
    "database.url",
    "database.password",
    "database.credentials",
    "webhook.url",
    "webhook.secrets",
];

/// How to show the value of `key`. Where a value lives is no secret.
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
        "database.url" => match (redact_url(value), value.rsplit_once('/')) {
            // The name of the database is no secret, and the first thing one looks for.
            (url, Some((_, name))) if url.ends_with("/[redacted]") => {
                url.replace("[redacted]", name.split('?').next().unwrap_or_default())
            }
            (url, _) => url,
        },
        "webhook.url" => redact_url(value),
        "database.password" | "database.credentials" | "webhook.secrets" if !value.is_empty() => {
            "[redacted]".to_owned()
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
        assert_eq!(
            shown("database.url", "postgres://u:p@db/bday?sslmode=require"),
            "postgres://db/bday"
        );
        assert_eq!(shown("database.password", "hunter2"), "[redacted]");
        assert_eq!(shown("database.password", ""), "");
        assert_eq!(shown("worker.max_in_flight", "7"), "7");
    }

    #[test]
    fn where_a_secret_lives_is_shown() {
        for key in SOURCES {
            assert_eq!(shown(key, "ssm:/bday/x"), "ssm:/bday/x");
        }
        assert_eq!(
            shown("webhook.url", "https://example.org/ssm:x"),
            "https://example.org/[redacted]"
        );
        assert_eq!(
            shown("webhook.secrets", "whsec_bmV3, env:OLD,hunter2,file:/run/x"),
            "[redacted],env:OLD,[redacted],file:/run/x"
        );
    }
}

//! What of a value may be shown.

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

/// How to show the value of `key`.
pub(super) fn shown(key: &str, value: &str) -> String {
    match key {
        "database.url" => match (redact_url(value), value.rsplit_once('/')) {
            // The name of the database is no secret, and the first thing one looks for.
            (url, Some((_, name))) if url.ends_with("/[redacted]") => {
                url.replace("[redacted]", name.split('?').next().unwrap_or_default())
            }
            (url, _) => url,
        },
        "webhook.url" => redact_url(value),
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
        assert_eq!(shown("worker.max_in_flight", "7"), "7");
    }
}

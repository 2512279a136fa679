//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110 section 13.1).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::Problem;
use crate::model::Version;

pub(super) fn etag(version: Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// The versions in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// The tags that bday wrote; others match no version.
    Versions(Vec<Version>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Option<Self> {
        let mut versions = Vec::new();
        let mut present = false;
        for value in headers.get_all(name) {
            present = true;
            for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                if tag == "*" {
                    return Some(Self::Any);
                }
                let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
                let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                versions.extend(version.and_then(Version::parse));
            }
        }
        present.then_some(Self::Versions(versions))
    }

    fn has(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// What a request requires of a user's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preconditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl Preconditions {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            if_match: Tags::of(headers, &IF_MATCH, false),
            if_none_match: Tags::of(headers, &IF_NONE_MATCH, true),
        }
    }

    /// Checks the user's version; `None` if there is no user.
    pub(super) fn check(&self, version: Option<Version>) -> Result<(), Problem> {
        if self.hold(version) { Ok(()) } else { Err(Problem::other_version()) }
    }

    /// Whether the client has this version already.
    pub(super) fn is_not_modified(&self, version: Version) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| tags.has(version))
    }

    /// The versions of `If-Match`; `None` if any will do.
    pub(super) fn required_versions(&self) -> Option<&[Version]> {
        match &self.if_match {
            None | Some(Tags::Any) => None,
            Some(Tags::Versions(versions)) => Some(versions),
        }
    }

    fn hold(&self, version: Option<Version>) -> bool {
        let has = |tags: &Tags| version.is_some_and(|version| tags.has(version));
        self.if_match.as_ref().is_none_or(has) && !self.if_none_match.as_ref().is_some_and(has)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn version(number: i64, micros: i64) -> Option<Version> {
        DateTime::from_timestamp_micros(micros).map(|created_at| Version::new(number, created_at))
    }

    fn preconditions(name: HeaderName, value: &'static str) -> Preconditions {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        Preconditions::of(&headers)
    }

    #[test]
    fn if_match_is_one_of_a_list_and_never_weak() {
        let one = preconditions(IF_MATCH, "\"7-1f\", \"8-1f\"");
        assert!(one.hold(version(8, 0x1f)) && !one.hold(version(9, 0x1f)) && !one.hold(None));
        assert!(!one.hold(version(8, 0x20)), "another user under the same external id");
        assert!(!preconditions(IF_MATCH, "W/\"7-1f\"").hold(version(7, 0x1f)));
        assert!(!preconditions(IF_MATCH, "\"7\"").hold(version(7, 0)));
        assert!(!preconditions(IF_MATCH, "nonsense").hold(version(7, 0x1f)));
        let any = preconditions(IF_MATCH, "*");
        assert!(any.hold(version(1, 0x1f)) && !any.hold(None));
    }

    #[test]
    fn if_none_match_with_a_star_requires_that_there_is_no_user() {
        let none = preconditions(IF_NONE_MATCH, "*");
        assert!(none.hold(None) && !none.hold(version(1, 0x1f)));
        assert!(!preconditions(IF_NONE_MATCH, "W/\"7-1f\"").hold(version(7, 0x1f)));
    }
}

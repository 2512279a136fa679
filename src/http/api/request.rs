//! Reading requests: what is wrong is told at once, and by name.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Path, RawQuery};
use axum::http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::problem::Problem;
use crate::calendar::text::shortened;
use crate::model::{FieldError, JsonObject, Version};
use crate::store::SearchCursor;

/// The longest body but for an import; an honest one has some 300 bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_KEY_CHARS: usize = 255;

/// A part of the address as text.
#[derive(Debug)]
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Problem::bad_request("the address is not UTF-8")),
        }
    }
}

/// A part of the address that is an id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        match uuid(&text) {
            Ok(id) => Ok(Self(id)),
            Err(problem) => Err(Problem::bad_parameters(vec![FieldError::new("id", problem)])),
        }
    }
}

/// In the one form that we write.
pub(super) fn uuid(text: &str) -> Result<Uuid, String> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    id.ok_or_else(|| "is not a UUID such as 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f".to_owned())
}

/// The parameters behind the question mark. One that nobody takes is an error: a typo must not widen a list.
#[derive(Debug)]
pub(super) struct Parameters {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RawQuery(query) =
            RawQuery::from_request_parts(parts, state).await.unwrap_or_else(|never| match never {});
        let query = query.unwrap_or_default();
        let given = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Ok(Self { given, known: Vec::new(), errors: Vec::new() })
    }
}

impl Parameters {
    /// The value of `name`, if it is given.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(name);
        let mut values = self.given.iter().filter(|(given, _)| given == name);
        let (_, text) = values.next()?;
        let result = if values.next().is_some() { Err("comes twice".to_owned()) } else { read(text) };
        result.map_err(|problem| self.errors.push(FieldError::new(shortened(name), problem))).ok()
    }

    /// The values of `name`, which may come more than once, or as a list with commas.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Vec<T> {
        self.known.push(name);
        let mut values = Vec::new();
        for (_, text) in self.given.iter().filter(|(given, _)| given == name) {
            for part in text.split(',') {
                match part.parse::<T>() {
                    Ok(value) => values.push(value),
                    Err(error) => self.errors.push(FieldError::new(name, error.to_string())),
                }
            }
        }
        values
    }

    /// A whole number from 1 to `most`.
    pub(super) fn number(&mut self, name: &'static str, default: u32, most: u32) -> u32 {
        let number = self.optional(name, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|n| digits && (1..=most).contains(n));
            number.ok_or_else(|| format!("must be a whole number from 1 to {most}"))
        });
        number.unwrap_or(default)
    }

    /// All that is wrong, and what nobody asked for.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in &self.given {
            if !self.known.contains(&name.as_str()) {
                let known = match self.known.as_slice() {
                    [] => "none".to_owned(),
                    known => known.join(", "),
                };
                let problem = format!("unknown parameter; known here: {known}");
                self.errors.push(FieldError::new(shortened(name), problem));
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::bad_parameters(self.errors)) }
    }
}

/// Text that the database can compare with.
pub(super) fn text(given: &str) -> Result<String, String> {
    let length = given.chars().count();
    if length == 0 || length > 200 {
        Err(format!("must have 1 to 200 characters, and has {length}"))
    } else if given.chars().any(char::is_control) {
        Err("has a control character: remove it".to_owned())
    } else {
        Ok(given.to_owned())
    }
}

/// The id, and behind it the text that matched, in base64. A list without a search has none.
pub(super) fn write_user_cursor(cursor: &SearchCursor) -> String {
    format!("{}{}", cursor.id.simple(), URL_SAFE_NO_PAD.encode(&cursor.key))
}

pub(super) fn read_user_cursor(text: &str) -> Option<SearchCursor> {
    let (id, key) = text.split_at_checked(32)?;
    let key = String::from_utf8(URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
    // PostgreSQL takes no NUL in a text.
    let id = Uuid::try_parse(id).ok().filter(|_| !key.contains('\0'))?;
    Some(SearchCursor { key, id })
}

/// The type of the body, without its parameters, in lower case.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// A body that is one JSON object, of one of the `types`.
pub(super) async fn object(
    headers: &HeaderMap,
    body: Body,
    types: &[&str],
) -> Result<(Bytes, JsonObject), Problem> {
    if !types.contains(&content_type(headers).as_str()) {
        return Err(Problem::unsupported_type(&types.join(" or ")));
    }
    let bytes = match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(bytes) => bytes,
        Err(error) if is_limit(&error) => return Err(Problem::too_large(MAX_BODY_BYTES)),
        Err(_) => return Err(Problem::bad_request("the body ended before its time")),
    };
    let object = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::bad_request(format!("the body must be a JSON object: {error}")))?;
    Ok((bytes, object))
}

fn is_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The name that a client gave its request.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY_CHARS).contains(&key.len()) => Ok(Some(key)),
        _ => {
            let detail =
                format!("the Idempotency-Key must have 1 to {MAX_KEY_CHARS} visible ASCII characters");
            Err(Problem::bad_request(detail))
        }
    }
}

/// The versions that a client names in a header (RFC 9110 section 13.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`
    Any,
    /// Those of the listed tags that are ours.
    Versions(Vec<Version>),
}

impl Tags {
    pub(super) fn has(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }

    fn of(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Option<Self> {
        let mut versions = Vec::new();
        let mut given = false;
        for value in headers.get_all(name) {
            given = true;
            for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                if tag == "*" {
                    return Some(Self::Any);
                }
                let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
                let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                versions.extend(version.and_then(Version::parse));
            }
        }
        given.then_some(Self::Versions(versions))
    }
}

/// What must hold of a user's version before it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preconditions {
    pub(super) if_match: Option<Tags>,
    pub(super) if_none_match: Option<Tags>,
}

impl Preconditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            if_match: Tags::of(headers, &IF_MATCH, false),
            if_none_match: Tags::of(headers, &IF_NONE_MATCH, true),
        }
    }

    /// # Errors
    /// A user at `version` may not be changed; none means that there is no user.
    pub(super) fn check(&self, version: Option<Version>) -> Result<(), Problem> {
        if self.hold(version) { Ok(()) } else { Err(Problem::other_version()) }
    }

    fn hold(&self, version: Option<Version>) -> bool {
        let has = |tags: &Tags| version.is_some_and(|version| tags.has(version));
        self.if_match.as_ref().is_none_or(has) && !self.if_none_match.as_ref().is_some_and(has)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
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
        // Somebody else, who went by the same name.
        assert!(!one.hold(version(8, 0x20)));
        assert!(!preconditions(IF_MATCH, "W/\"7-1f\"").hold(version(7, 0x1f)));
        assert!(!preconditions(IF_MATCH, "\"7\"").hold(version(7, 0)));
        assert!(!preconditions(IF_MATCH, "nonsense").hold(version(7, 0x1f)));
        let any = preconditions(IF_MATCH, "*");
        assert!(any.hold(version(1, 0x1f)) && !any.hold(None));
    }

    #[test]
    fn if_none_match_with_a_star_wants_nobody_there() {
        let none = preconditions(IF_NONE_MATCH, "*");
        assert!(none.hold(None) && !none.hold(version(1, 0x1f)));
        assert!(!preconditions(IF_NONE_MATCH, "W/\"7-1f\"").hold(version(7, 0x1f)));
    }
}

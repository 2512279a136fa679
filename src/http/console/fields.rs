//! The fields of a form or a query. A field may occur more than once.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use super::problem::ConsoleProblem;
use crate::http::api::page::TimeCursorText;
use crate::store::TimeCursor;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

/// The fields of the query string.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(pub(super) Fields);

/// The fields of a form that was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Form(pub(super) Fields);

impl Fields {
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Returns the first value of `name`, without surrounding blanks; none if it is blank.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        Some(found.1.trim()).filter(|text| !text.is_empty())
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }

    /// Returns the query string with `name` set to `value`; blank fields are left out.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        self.query_without(name).append_pair(name, value).finish()
    }

    /// Returns the query string without `name` and blank fields.
    pub(super) fn without(&self, name: &str) -> String {
        self.query_without(name).finish()
    }

    fn query_without(&self, name: &str) -> form_urlencoded::Serializer<'static, String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(key, value)| key != name && !value.trim().is_empty()));
        query
    }

    /// Returns the place in a list that the field `cursor` names.
    pub(super) fn time_cursor(&self) -> Result<Option<TimeCursor>, ConsoleProblem> {
        let cursor = self.get("cursor").map(|text| TimeCursorText::try_from(text.to_owned()));
        let cursor = cursor.transpose().map_err(ConsoleProblem::bad_request)?;
        Ok(cursor.map(|TimeCursorText(cursor)| cursor))
    }

    /// Returns the path on this host to which a form returns: the field `back`, otherwise `default`.
    pub(super) fn back(&self, default: &str) -> String {
        let local = self.get("back").filter(|path| is_local_path(path));
        local.unwrap_or(default).to_owned()
    }
}

/// Whether `path` leads to a page of this host. Browsers read `//` and `/\` as the beginning of another host.
pub(super) fn is_local_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ConsoleProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ConsoleProblem> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ConsoleProblem;

    async fn from_request(request: Request, state: &S) -> Result<Self, ConsoleProblem> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| ConsoleProblem::bad_request(error.body_text()))?;
        Ok(Self(Fields::parse(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_returns_only_to_a_page_of_this_host() {
        for (path, expected) in [
            ("/failures?reason=status", "/failures?reason=status"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/x\r\nSet-Cookie: a", "/"),
            ("", "/"),
        ] {
            let encoded: String =
                form_urlencoded::Serializer::new(String::new()).append_pair("back", path).finish();
            assert_eq!(Fields::parse(encoded.as_bytes()).back("/"), expected, "{path}");
        }
    }

    #[test]
    fn a_field_may_occur_more_than_once() {
        let fields = Fields::parse(b"id=1&id=2&name=+Ada+&blank=+");
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(
            (fields.get("name"), fields.get("blank"), fields.text("missing")),
            (Some("Ada"), None, "")
        );
    }
}

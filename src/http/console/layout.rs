//! What all pages have: title, navigation, the operator, and a notice about the last action.

use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::assets;
use crate::http::access::Operator;
use crate::model::Scope;

const NOTICE_COOKIE: &str = "bday_notice";
/// Long enough for the redirect after a form.
const NOTICE_SECS: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    None,
    Today,
    Calendar,
    Events,
    Failures,
    People,
    Import,
    Message,
    Tokens,
    Audit,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) section: Section,
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    /// After `g`, the key that opens it.
    pub(super) key: char,
    required: Scope,
}

const fn link(section: Section, name: &'static str, path: &'static str, key: char, required: Scope) -> Link {
    Link { section, name, path, key, required }
}

const LINKS: [Link; 9] = [
    link(Section::Today, "Today", "/", 't', Scope::Read),
    link(Section::Calendar, "Calendar", "/calendar", 'c', Scope::Read),
    link(Section::Events, "Events", "/events", 'e', Scope::Read),
    link(Section::Failures, "Failures", "/failures", 'f', Scope::Read),
    link(Section::People, "People", "/people", 'p', Scope::Read),
    link(Section::Import, "Import", "/import", 'i', Scope::Write),
    link(Section::Message, "Message", "/message", 'm', Scope::Read),
    link(Section::Tokens, "Tokens", "/tokens", 'k', Scope::Admin),
    link(Section::Audit, "Audit", "/audit", 'a', Scope::Admin),
];

/// The result of an action, shown once on the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) is_success: bool,
    pub(super) text: String,
}

impl Notice {
    pub(super) fn done(text: impl Into<String>) -> Self {
        Self { is_success: true, text: text.into() }
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { is_success: false, text: text.into() }
    }

    pub(super) fn class(&self) -> &'static str {
        if self.is_success { "good" } else { "bad" }
    }

    /// Redirects to `path`, which shows this notice.
    pub(super) fn on(&self, path: &str) -> Response {
        let text = utf8_percent_encode(&self.text, NON_ALPHANUMERIC);
        let mark = if self.is_success { '1' } else { '0' };
        let cookie =
            format!("{NOTICE_COOKIE}={mark}{text}; Path=/; HttpOnly; SameSite=Lax; Max-Age={NOTICE_SECS}");
        (AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to(path)).into_response()
    }

    fn read(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == NOTICE_COOKIE)?;
        let (mark, text) = value.split_at_checked(1)?;
        let text = percent_decode_str(text).decode_utf8().ok()?;
        (!text.is_empty()).then(|| Self { is_success: mark == "1", text: text.into_owned() })
    }

    /// Returns the header that removes the notice from the browser.
    pub(super) fn removal() -> HeaderValue {
        HeaderValue::from_static("bday_notice=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0")
    }
}

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) title: String,
    pub(super) section: Section,
    pub(super) operator: Operator,
    pub(super) signed_in: bool,
    pub(super) notice: Option<Notice>,
    /// The path and query of this page, to which its forms return.
    pub(super) here: String,
}

impl Layout {
    /// Returns the layout of a page that requires no session.
    pub(super) fn open(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            section: Section::None,
            operator: Operator::anyone(),
            signed_in: false,
            notice: None,
            here: "/".to_owned(),
        }
    }

    pub(super) fn is_signed_in(&self) -> bool {
        self.signed_in
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &'static Link> + use<> {
        let operator = self.operator.clone();
        LINKS.iter().filter(move |link| operator.allows(link.required))
    }

    pub(super) fn can_write(&self) -> bool {
        self.operator.allows(Scope::Write)
    }

    pub(super) fn can_operate(&self) -> bool {
        self.operator.allows(Scope::Admin)
    }

    pub(super) fn asset(&self, name: &str) -> String {
        assets::path(name)
    }
}

/// The request of a page: makes its [`Layout`].
#[derive(Debug, Clone)]
pub(super) struct View {
    operator: Operator,
    notice: Option<Notice>,
    here: String,
}

impl View {
    pub(super) fn new(operator: Operator, uri: &Uri, headers: &HeaderMap) -> Self {
        let here = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Self { operator, notice: Notice::read(headers), here }
    }

    pub(super) fn layout(&self, title: impl Into<String>, section: Section) -> Layout {
        Layout {
            title: title.into(),
            section,
            operator: self.operator.clone(),
            signed_in: true,
            notice: self.notice.clone(),
            here: self.here.clone(),
        }
    }

    pub(super) fn operator(&self) -> &Operator {
        &self.operator
    }
}

impl<S: Send + Sync> FromRequestParts<S> for View {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // The guard has inserted it.
        let operator = parts.extensions.get::<Operator>().cloned().ok_or(StatusCode::FORBIDDEN)?;
        Ok(Self::new(operator, &parts.uri, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_survives_the_redirect() {
        let notice = Notice::done("Paused: “the receiver; is moving” =)");
        let response = notice.on("/");
        let cookie = response.headers()[SET_COOKIE].to_str().expect("text").to_owned();
        let pair = cookie.split(';').next().expect("a pair").to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, pair.parse().expect("a header"));
        assert_eq!(Notice::read(&headers), Some(notice));
    }
}

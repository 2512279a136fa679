//! The section `[traces]`.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::{UrlError, parse_url};
use crate::config::source::Reference;
use crate::model::TraceId;

/// Replaced by the trace id in `traces.link`.
const PLACEHOLDER: &str = "{trace_id}";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    pub url: String,
    pub headers: Reference,
    pub sample_ratio: f64,
    pub service_name: String,
    pub link: String,
}

impl TracesConfig {
    /// Returns the URL of the collector; none if traces are off.
    #[must_use]
    pub fn collector(&self) -> Option<Url> {
        Url::parse(self.url.trim()).ok()
    }

    /// Returns the page of a trace; none if `traces.link` is empty.
    #[must_use]
    pub fn link_to(&self, trace_id: TraceId) -> Option<Url> {
        if self.link.is_empty() { None } else { Url::parse(&self.link_text(&trace_id.to_string())).ok() }
    }

    fn link_text(&self, trace_id: &str) -> String {
        self.link.replace(PLACEHOLDER, trace_id)
    }

    pub(super) fn errors(&self) -> Vec<String> {
        let ratio = self.sample_ratio;
        let ratio = (!(0.0..=1.0).contains(&ratio))
            .then(|| format!("traces.sample_ratio is {ratio}: it must be 0 to 1"));
        let name = self.service_name.trim().is_empty().then(|| {
            "traces.service_name is empty: give the name of this service in the traces, such as bday"
                .to_owned()
        });
        let headers = self.headers.literal().and_then(|text| parse_headers(text).err());
        let headers = headers.map(|error| {
            format!("traces.headers {error}: give NAME=VALUE, separated by commas, such as Authorization=Bearer%20TOKEN")
        });
        [self.url_error(), headers, ratio, name, self.link_error()].into_iter().flatten().collect()
    }

    fn url_error(&self) -> Option<String> {
        let advice = "give the URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318/v1/traces";
        // Spans hold no personal data, so http:// is accepted.
        match parse_url(&self.url, true) {
            Err(UrlError::Empty) => None,
            Err(error) => Some(format!("traces.url {error}: {advice}")),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                Some("traces.url has a user or a password: use traces.headers (Authorization=…)".to_owned())
            }
            Ok(url) if url.path() == "/" => Some(format!("traces.url has no path: {advice}")),
            Ok(_) => None,
        }
    }

    fn link_error(&self) -> Option<String> {
        let link = &self.link;
        let valid =
            link.is_empty() || link.contains(PLACEHOLDER) && parse_url(&self.link_text("0"), true).is_ok();
        (!valid).then(|| {
            format!(
                "traces.link is {link:?}: give a URL with {PLACEHOLDER}, such as https://jaeger.example.org/trace/{PLACEHOLDER}"
            )
        })
    }
}

/// Parses headers in the format of `OTEL_EXPORTER_OTLP_HEADERS`: `NAME=VALUE`, separated by commas, values percent-encoded. The error
/// does not repeat them.
pub(crate) fn parse_headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (n, part) in (1..).zip(text.split(',')) {
        if part.trim().is_empty() {
            continue;
        }
        let header = part.split_once('=').and_then(|(name, value)| {
            let value: Vec<u8> = percent_decode_str(value.trim()).collect();
            let mut value = HeaderValue::from_bytes(&value).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        let (name, value) = header.ok_or_else(|| format!("has an invalid header, number {n}"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, Variables, load};
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables =
            variables.iter().map(|(key, value)| (format!("BDAY__TRACES__{key}"), (*value).to_owned()));
        load(None, variables.collect::<Variables>())
    }

    #[test]
    fn each_invalid_value_is_named_with_the_remedy() {
        for (key, value, error) in [
            ("URL", "collector:4318", "traces.url has the scheme \"collector\""),
            (
                "URL",
                "http://collector:4318",
                "traces.url has no path: give the URL of an OTLP/HTTP collector",
            ),
            ("URL", "http://bday:hunter2@collector/v1/traces", "traces.url has a user or a password"),
            (
                "HEADERS",
                "x-tenant=1,hunter2",
                "traces.headers has an invalid header, number 2: give NAME=VALUE",
            ),
            ("HEADERS", "x-tenant=hunter2%0a", "traces.headers has an invalid header, number 1"),
            ("SAMPLE_RATIO", "1.5", "traces.sample_ratio is 1.5: it must be 0 to 1"),
            ("SAMPLE_RATIO", "nan", "traces.sample_ratio is NaN: it must be 0 to 1"),
            ("SERVICE_NAME", " ", "traces.service_name is empty"),
            (
                "LINK",
                "https://jaeger.example.org/",
                "traces.link is \"https://jaeger.example.org/\": give a URL with {trace_id}",
            ),
            ("LINK", "{trace_id}", "traces.link is \"{trace_id}\""),
        ] {
            let found = config(&[(key, value)]).expect_err(value).to_string();
            assert!(found.contains(error) && !found.contains("hunter2"), "{value}: {found}");
        }
        for ratio in ["0", "1", "0.25"] {
            assert!(config(&[("SAMPLE_RATIO", ratio)]).is_ok(), "{ratio}");
        }
    }

    #[test]
    fn a_link_has_the_id_of_the_trace() {
        let id = TraceId::new(0xabc).expect("an id");
        let link = |template| config(&[("LINK", template)]).expect("a configuration").traces.link_to(id);
        assert_eq!(link(""), None);
        let jaeger = link("https://jaeger.example.org/trace/{trace_id}").expect("a link");
        assert_eq!(jaeger.as_str(), "https://jaeger.example.org/trace/00000000000000000000000000000abc");
        let grafana =
            link("https://grafana.example.org/explore?left={\"query\":\"{trace_id}\"}").expect("a link");
        assert_eq!(grafana.query(), Some("left={%22query%22:%2200000000000000000000000000000abc%22}"));
    }

    #[test]
    fn headers_are_decoded_and_not_printed() {
        let headers = parse_headers("Authorization=Basic%20YTpi==, x-scope-orgid=1,").expect("headers");
        assert_eq!(headers["authorization"], "Basic YTpi==");
        assert_eq!(headers["x-scope-orgid"], "1");
        assert!(!format!("{headers:?}").contains("YTpi"));
    }
}

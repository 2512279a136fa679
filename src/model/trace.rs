//! The ids of traces and spans, in the formats of W3C Trace Context.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::calendar::InvalidText;

/// Written as 32 hexadecimal digits. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct TraceId(Uuid);

/// A span of a trace. Written as the value of the header `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    pub trace_id: TraceId,
    /// Never zero.
    pub span_id: u64,
}

impl TraceId {
    /// Returns `None` for zero.
    #[must_use]
    pub fn new(id: u128) -> Option<Self> {
        (id != 0).then(|| Self(Uuid::from_u128(id)))
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl FromStr for TraceId {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = hex_digits(text, 32).and_then(|digits| u128::from_str_radix(digits, 16).ok());
        id.and_then(Self::new)
            .ok_or_else(|| InvalidText::new("invalid trace id", text, "expected 32 hexadecimal digits"))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl SpanContext {
    /// Parses the header `traceparent`. Returns `None` for an invalid text, and for a span that is not exported.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex_digits(parts.next()?, 2)?;
        let trace_id = parts.next()?.parse().ok()?;
        let span_id = u64::from_str_radix(hex_digits(parts.next()?, 16)?, 16).ok()?;
        let flags = u8::from_str_radix(hex_digits(parts.next()?, 2)?, 16).ok()?;
        // Later versions may have more parts.
        let complete = version != "ff" && (version != "00" || parts.next().is_none());
        (complete && span_id != 0 && flags & 1 == 1).then_some(Self { trace_id, span_id })
    }
}

impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-01", self.trace_id, self.span_id)
    }
}

/// Returns `text` if it is `len` lower-case hexadecimal digits.
fn hex_digits(text: &str, len: usize) -> Option<&str> {
    let valid = text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    valid.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_parsed() {
        let context = SpanContext::parse(TRACEPARENT).expect("the example of the standard");
        assert_eq!(context.to_string(), TRACEPARENT);
        assert_eq!(context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.trace_id.to_string().parse(), Ok(context.trace_id));
        let later = format!("{}-more", TRACEPARENT.replacen("00-", "cc-", 1));
        assert_eq!(SpanContext::parse(&later), Some(context));
    }

    #[test]
    fn invalid_and_unsampled_contexts_are_ignored() {
        for (from, to) in [
            ("00-0af", "ff-0af"),
            ("-01", "-00"),
            ("-01", "-01-more"),
            ("-01", ""),
            ("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            ("00f067aa0ba902b7", "0000000000000000"),
            ("0af7", "0AF7"),
            ("0af7", "+af7"),
            ("0af7", "0af"),
        ] {
            assert_eq!(SpanContext::parse(&TRACEPARENT.replacen(from, to, 1)), None, "{from} {to}");
        }
    }
}

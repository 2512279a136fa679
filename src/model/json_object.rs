//! A JSON object, parsed strictly: no duplicate fields, and a bounded number of fields.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::calendar::text::shortened;

/// A user has about ten fields, and a date for each kind.
const MAX_FIELDS: usize = 128;

/// Duplicate fields are an error, also in nested objects.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonObject(pub Map<String, Value>);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict::deserialize(deserializer)?.0 {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(D::Error::custom(type_error("an object", &other))),
        }
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, _>()? {
            if fields.contains_key(&name) {
                let name = shortened(&name);
                return Err(A::Error::custom(format!("duplicate field {name:?}")));
            }
            if fields.len() == MAX_FIELDS {
                return Err(A::Error::custom(format!("more than {MAX_FIELDS} fields")));
            }
            fields.insert(name, value);
        }
        Ok(fields.into())
    }
}

/// Returns the text of a field, empty for null. For a field that may be null, a blank text is an error.
pub(super) fn text_value(value: &Value, may_be_null: bool) -> Result<&str, String> {
    match value {
        Value::Null => Ok(""),
        Value::String(text) if may_be_null && text.trim().is_empty() => {
            Err("is blank: omit it, or use null".to_owned())
        }
        Value::String(text) => Ok(text),
        other => Err(type_error("a string", other)),
    }
}

pub(super) fn type_error(expected: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("is {found}: expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        serde_json::from_str::<JsonObject>(text).expect_err("an error").to_string()
    }

    #[test]
    fn duplicate_fields_are_rejected_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":{"a":"x","a":"x"}}"#, r#"{"b":[{"c":{"a":null,"a":1}}]}"#] {
            assert!(error(text).contains("duplicate field \"a\""), "{text}");
        }
    }

    #[test]
    fn values_are_read_as_serde_json_reads_them() {
        let text =
            r#"{"a":null,"b":true,"c":-1,"d":18446744073709551615,"e":1.5,"f":"é\n","g":[1,"x",{"h":{}}]}"#;
        let JsonObject(fields) = serde_json::from_str(text).expect("an object");
        assert_eq!(Value::from(fields), serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn an_object_has_at_most_128_fields() {
        let of = |count: usize| {
            let fields: Vec<String> = (0..count).map(|n| format!("\"k{n}\":1")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(serde_json::from_str::<JsonObject>(&of(MAX_FIELDS)).is_ok());
        let many = of(MAX_FIELDS + 1);
        assert!(error(&many).contains("more than 128 fields"));
        assert!(error(&format!("{{\"occasions\":{many}}}")).contains("more than 128 fields"));
    }
}

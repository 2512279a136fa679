//! A JSON object, parsed strictly: no duplicate fields, and a bounded number of fields.

use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::calendar::text::shortened;

/// A user has about ten fields, and a date for each kind.
const MAX_FIELDS: usize = 128;

/// Duplicate fields are an error, also in nested objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JsonObject(pub Map<String, Value>);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict::deserialize(deserializer)?.0 {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(D::Error::custom("expected an object")),
        }
    }
}

/// An invalid field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The name of the field in the request or file.
    pub field: String,
    /// The error, the value, and what to do.
    pub problem: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl JsonObject {
    /// Returns the valid fields as a `T`, and an error for each invalid or unknown field. Each field is first read alone, so no field
    /// of `T` may be required.
    #[must_use]
    pub fn read<'a, T: Deserialize<'a> + Default>(&'a self) -> (T, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut valid = Vec::new();
        for field in &self.0 {
            match from_fields::<T>(&[field]) {
                Ok(_) => valid.push(field),
                Err(error) => errors.push(FieldError::new(shortened(field.0), error.to_string())),
            }
        }
        (from_fields(&valid).unwrap_or_default(), errors)
    }
}

fn from_fields<'a, T: Deserialize<'a>>(fields: &[(&'a String, &'a Value)]) -> serde_json::Result<T> {
    T::deserialize(MapDeserializer::new(fields.iter().map(|(name, value)| (name.as_str(), *value))))
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
    fn invalid_and_unknown_fields_are_named_and_the_others_are_read() {
        #[derive(Debug, Default, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Fields {
            a: Option<u8>,
            b: Option<bool>,
            c: Option<String>,
        }

        let object: JsonObject =
            serde_json::from_str(r#"{"a":256,"b":true,"c":null,"d":1}"#).expect("an object");
        let (fields, errors) = object.read::<Fields>();
        assert_eq!(fields, Fields { b: Some(true), ..Fields::default() });
        let named: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(named, ["a", "d"]);
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

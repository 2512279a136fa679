//! A JSON object, read strictly: no field twice, and a bounded number of fields.

use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::calendar::text::shortened;

/// A user has some ten fields, and a date for each kind.
const MAX_FIELDS: usize = 128;

/// A JSON object. A field that comes twice is an error, also in the objects within.
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

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The field, by its name in the request or file.
    pub field: String,
    /// What is wrong with it, with the value, and what to do.
    pub problem: String,
}

impl FieldError {
    /// An error of `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl JsonObject {
    /// Reads a `T`, and the error of every field that is wrong or unknown; such a field is absent in the `T`. No field of `T` may be
    /// required, since each is first read by itself.
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

/// Any value, with strict objects in it.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
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
                        return Err(A::Error::custom(format!("the field {name:?} comes twice")));
                    }
                    if fields.len() == MAX_FIELDS {
                        return Err(A::Error::custom(format!("there are more than {MAX_FIELDS} fields")));
                    }
                    fields.insert(name, value);
                }
                Ok(fields.into())
            }
        }

        deserializer.deserialize_any(Any).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        serde_json::from_str::<JsonObject>(text).expect_err("it is no such object").to_string()
    }

    #[test]
    fn a_field_that_comes_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":{"a":"x","a":"x"}}"#, r#"{"b":[{"c":{"a":null,"a":1}}]}"#] {
            assert!(error(text).contains("\"a\" comes twice"), "{text}");
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
    fn every_wrong_or_unknown_field_is_named_and_the_others_are_read() {
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

//! A JSON object, read strictly: no field twice, and a bounded number of fields.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::calendar::text::shortened;

/// A user has some ten fields, and a date for each kind.
const MAX_FIELDS: usize = 128;

/// A JSON object. A field that comes twice is an error, also in the objects within.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict::deserialize(deserializer)?.0 {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(D::Error::custom(not_a("an object", &other))),
        }
    }
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

/// The text of a field, empty for null. Where null is a value of the field, a blank text is not another one.
pub(super) fn text(value: &Value, may_be_null: bool) -> Result<&str, String> {
    match value {
        Value::Null => Ok(""),
        Value::String(text) if may_be_null && text.trim().is_empty() => {
            Err("is blank: leave it out, or give null".to_owned())
        }
        Value::String(text) => Ok(text),
        other => Err(not_a("a string", other)),
    }
}

/// The error for a value of another type.
pub(super) fn not_a(expected: &str, found: &Value) -> String {
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
        serde_json::from_str::<Object>(text).expect_err("it is no such object").to_string()
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
        let Object(fields) = serde_json::from_str(text).expect("an object");
        assert_eq!(Value::from(fields), serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn an_object_has_at_most_128_fields() {
        let of = |count: usize| {
            let fields: Vec<String> = (0..count).map(|n| format!("\"k{n}\":1")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(serde_json::from_str::<Object>(&of(MAX_FIELDS)).is_ok());
        let many = of(MAX_FIELDS + 1);
        assert!(error(&many).contains("more than 128 fields"));
        assert!(error(&format!("{{\"occasions\":{many}}}")).contains("more than 128 fields"));
    }
}

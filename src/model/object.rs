//! A JSON object as it came, strictly: nothing in it comes twice, and it has no more fields than anything honest.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::input::shortened;
use super::{FieldError, ID, user_id};

/// Fields of an object at the most: a user has some ten, and a date for each kind.
const MAX_FIELDS: usize = 128;

/// A JSON object, its fields as they came. A field that comes twice is an error, not the last one's win; so is it in the
/// objects within.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(pub Vec<(String, Value)>);

impl Object {
    /// bday's own id of the user, for an import: elsewhere the address names the user. Null is none.
    ///
    /// # Errors
    /// It is there, and is none.
    pub fn user_id(&self) -> Result<Option<Uuid>, FieldError> {
        match self.0.iter().find(|(name, _)| name == ID) {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, Value::String(text))) => user_id(text).map(Some),
            Some((_, other)) => Err(FieldError::new(ID, not_a("a string", other))),
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
                fields(map).map(Object)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The fields of an object, each once.
fn fields<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vec<(String, Value)>, A::Error> {
    let mut fields: Vec<(String, Value)> = Vec::with_capacity(8);
    while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
        if fields.iter().any(|(known, _)| *known == name) {
            let name = shortened(&name);
            return Err(de::Error::custom(format!("the field {name:?} comes twice")));
        }
        if fields.len() == MAX_FIELDS {
            return Err(de::Error::custom(format!("there are more than {MAX_FIELDS} fields")));
        }
        fields.push((name, value));
    }
    Ok(fields)
}

/// Any value, with the objects in it as strict as the outermost.
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
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::String(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(Value::String(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Strict(value)) = list.next_element()? {
                    values.push(value);
                }
                Ok(Value::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                fields(map).map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
            }
        }

        deserializer.deserialize_any(Any).map(Self)
    }
}

/// What is wrong with a value of another type.
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
        let read = serde_json::from_str::<Object>(text);
        read.expect_err("it is no such object").to_string()
    }

    #[test]
    fn a_field_that_comes_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":{"a":"x","a":"x"}}"#, r#"{"b":[{"c":{"a":null,"a":1}}]}"#] {
            assert!(error(text).contains("\"a\" comes twice"), "{text}");
        }
    }

    #[test]
    fn every_value_is_what_it_was() {
        let text =
            r#"{"a":null,"b":true,"c":-1,"d":18446744073709551615,"e":1.5,"f":"é\n","g":[1,"x",{"h":{}}]}"#;
        let Object(fields) = serde_json::from_str(text).expect("an object");
        let read: Value = fields.into_iter().collect::<Map<_, _>>().into();
        assert_eq!(read, serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn an_object_has_no_more_fields_than_anything_honest() {
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

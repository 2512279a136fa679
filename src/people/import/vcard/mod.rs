//! vCard (RFC 6350, and the versions 3.0 and 2.1): from the properties of a card to the fields of a user.

mod property;
mod splitter;

use chrono::NaiveDate;

use super::user::{ImportedUser, format_errors};
use crate::calendar::Zone;
use crate::calendar::text::shortened;
use crate::model::{FieldError, Schedule, UserInput};
use property::Property;

pub(super) use splitter::{Card, CardSplitter};

/// The properties that are read.
pub(super) const PROPERTIES: [&str; 8] = ["FN", "N", "BDAY", "TZ", "EMAIL", "TEL", "UID", "LANG"];
/// Apple writes a date without its year as one in this year, with or without a parameter that says so.
const APPLE_UNKNOWN_YEAR: &str = "1604";
const NO_TELEPHONES: [&str; 4] = ["fax", "pager", "modem", "bbs"];

/// Returns the user of a card. Addresses that the card lacks are kept, as are dates of further kinds: a card cannot have them.
pub(super) fn parse(
    text: &str,
    default_zone: Option<Zone>,
    schedule: &Schedule,
    today: NaiveDate,
) -> Result<ImportedUser, String> {
    let card = Properties::parse(text)?;
    let mut input = UserInput::new(schedule, today);
    let mut errors = Vec::new();
    let (first_name, last_name) = card.names();
    input.set("firstName", &first_name);
    input.set("lastName", &last_name);
    for (field, name, value) in [
        ("birthDate", "BDAY", card.first("BDAY").map(birth_date)),
        ("timeZone", "TZ", Some(time_zone(card.first("TZ"), default_zone))),
        ("externalId", "UID", card.first("UID").map(|uid| Ok(uid.text()))),
        ("locale", "LANG", card.preferred("LANG").map(|language| Ok(language.text()))),
        ("email", "EMAIL", card.preferred("EMAIL").map(|email| Ok(without_scheme(&email.text(), "mailto:")))),
        ("phone", "TEL", card.telephone().map(|phone| Ok(telephone_number(&phone.text())))),
    ] {
        match value {
            None => {}
            Some(Ok(text)) => input.set(field, &text),
            Some(Err(problem)) => errors.push(FieldError::new(name, problem)),
        }
    }
    let user = input.validate().map_err(|invalid| {
        for error in invalid {
            let error = FieldError::new(property_of(&error.field), error.problem);
            if errors.iter().all(|known| known.field != error.field) {
                errors.push(error);
            }
        }
        std::mem::take(&mut errors)
    });
    let user = user.and_then(|user| if errors.is_empty() { Ok(user) } else { Err(errors) });
    ImportedUser::new(Ok(None), user).map_err(|errors| format_errors(&errors))
}

fn property_of(field: &str) -> &str {
    match field {
        "firstName" => "FN",
        "lastName" => "N",
        "birthDate" => "BDAY",
        "timeZone" => "TZ",
        "externalId" => "UID",
        "locale" => "LANG",
        "email" => "EMAIL",
        "phone" => "TEL",
        other => other,
    }
}

#[derive(Debug)]
struct Properties(Vec<Property>);

impl Properties {
    fn parse(text: &str) -> Result<Self, String> {
        let mut properties = Vec::new();
        for line in property::unfold(text) {
            if !PROPERTIES.contains(&property::name_of(&line).as_str()) {
                continue;
            }
            properties.push(Property::parse(&line)?);
        }
        Ok(Self(properties))
    }

    fn named(&self, name: &'static str) -> impl Iterator<Item = &Property> {
        self.0.iter().filter(move |property| property.name == name && !property.text().is_empty())
    }

    fn first(&self, name: &'static str) -> Option<&Property> {
        self.named(name).next()
    }

    fn preferred(&self, name: &'static str) -> Option<&Property> {
        self.named(name).min_by_key(|property| property.preference())
    }

    /// Returns the preferred number that can receive a message: among equals, a mobile one.
    fn telephone(&self) -> Option<&Property> {
        let numbers = self.named("TEL").filter(|tel| !NO_TELEPHONES.iter().any(|other| tel.has_type(other)));
        numbers.min_by_key(|tel| (tel.preference(), !tel.has_type("cell")))
    }

    /// Returns first and last name. A card with one name has it as the first name, and so has a card with a formatted name only.
    fn names(&self) -> (String, String) {
        let name = self.first("N");
        let (family, given) =
            name.map_or_else(Default::default, |name| (name.component(0), name.component(1)));
        match (given.is_empty(), family.is_empty()) {
            (false, _) => (given, family),
            (true, false) => (family, String::new()),
            (true, true) => (self.first("FN").map(Property::text).unwrap_or_default(), String::new()),
        }
    }
}

/// Returns the date in the form of bday. A time of the day is ignored.
fn birth_date(property: &Property) -> Result<String, String> {
    let text = property.text();
    let invalid = || {
        let given = shortened(&text);
        format!("invalid date {given:?}: expected YYYYMMDD or YYYY-MM-DD, or --MMDD without the year")
    };
    if property.has_value_type("text") {
        return Err(invalid());
    }
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let digits = match date.strip_prefix("--") {
        Some(rest) => rest.replacen('-', "", 1),
        // Both hyphens or none.
        None if date.len() == 10 && date.get(4..5) == Some("-") && date.get(7..8) == Some("-") => {
            date.replace('-', "")
        }
        None => date.to_owned(),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    match (date.starts_with("--"), digits.len()) {
        (true, 4) => Ok(format!("--{}-{}", &digits[..2], &digits[2..])),
        (false, 8) => {
            let (year, month, day) = (&digits[..4], &digits[4..6], &digits[6..]);
            let is_unknown = year == APPLE_UNKNOWN_YEAR || property.has_parameter("X-APPLE-OMIT-YEAR");
            Ok(if is_unknown { format!("--{month}-{day}") } else { format!("{year}-{month}-{day}") })
        }
        _ => Err(invalid()),
    }
}

fn time_zone(property: Option<&Property>, default: Option<Zone>) -> Result<String, String> {
    let Some(property) = property else {
        let zone = default.ok_or(
            "is missing: add an IANA zone name to the card, such as TZ:Europe/Berlin, or give the zone of all cards without one \
             (--time-zone, timeZone)",
        );
        return Ok(zone?.name().to_owned());
    };
    let text = property.text();
    let is_offset = text.starts_with(['+', '-']) || property.has_value_type("utc-offset");
    if is_offset && Zone::parse(&text).is_err() {
        return Err(format!(
            "{:?} is an offset from UTC, which does not say when the clocks change: replace it by an IANA zone name such as \
             America/New_York, or remove it and give the zone of all cards without one (--time-zone, timeZone)",
            shortened(&text)
        ));
    }
    Ok(text)
}

fn without_scheme(text: &str, scheme: &str) -> String {
    match text.split_at_checked(scheme.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(scheme) => rest.to_owned(),
        _ => text.to_owned(),
    }
}

/// Returns the number of a `tel:` URI (RFC 3966) without its parameters, and any other text as it is.
fn telephone_number(text: &str) -> String {
    let number = without_scheme(text, "tel:");
    if number == text { number } else { number.split(';').next().unwrap_or_default().to_owned() }
}

#[cfg(test)]
mod tests;

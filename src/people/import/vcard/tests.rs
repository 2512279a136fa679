use proptest::prelude::*;

use super::*;
use crate::model::{ContactType, NewUser};

fn read_in(zone: Option<&str>, lines: &str) -> Result<NewUser, String> {
    let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date");
    let zone = zone.map(|name| name.parse().expect("a zone"));
    let text = format!("BEGIN:VCARD\nVERSION:4.0\n{lines}\nEND:VCARD");
    parse(&text, zone, &Schedule::of_kinds(&["birthday"]), today).map(|imported| imported.user)
}

/// Reads a card with these lines, a name and a zone.
fn read(lines: &str) -> Result<NewUser, String> {
    read_in(None, &format!("FN:Ada Lovelace\nTZ:Europe/London\n{lines}"))
}

#[test]
fn every_property_becomes_its_field() {
    let user = read_in(
        None,
        "FN:Countess Ada Lovelace\nN:Lovelace;Ada,Augusta;;Countess;\nBDAY:18151210\nTZ:Europe/London\n\
         item1.EMAIL;TYPE=work:work@example.org\nEMAIL;PREF=1:ada@example.org\nTEL;VALUE=uri;TYPE=\"voice,home\":tel:+44-20-7946-0958;ext=1\n\
         UID:urn:uuid:4fbe8971-0bc3-424c-9c26-36c3e1eff6b1\nLANG;PREF=2:fr\nLANG;PREF=1:en-gb\nNOTE:x",
    )
    .expect("a user");
    assert_eq!((user.first_name.as_str(), user.last_name.as_str()), ("Ada Augusta", "Lovelace"));
    assert_eq!(
        (user.birth_date.to_string().as_str(), user.time_zone.name()),
        ("1815-12-10", "Europe/London")
    );
    assert_eq!(user.external_id.as_deref(), Some("urn:uuid:4fbe8971-0bc3-424c-9c26-36c3e1eff6b1"));
    assert_eq!(user.locale.as_deref(), Some("en-GB"));
    assert_eq!(user.addresses[&ContactType::Email].as_deref(), Some("ada@example.org"));
    assert_eq!(user.addresses[&ContactType::Phone].as_deref(), Some("+442079460958"));
    // What a card cannot have, or does not have, is kept.
    assert_eq!(read("BDAY:18151210").expect("a user").addresses.len(), 0);
}

#[test]
fn a_card_with_one_name_has_a_first_name() {
    let names = |lines: &str| {
        let user = read_in(Some("UTC"), &format!("{lines}\nBDAY:--0101")).expect("a user");
        format!("{}|{}", user.first_name, user.last_name)
    };
    assert_eq!(names("N:;Cher;;;\nFN:x"), "Cher|");
    assert_eq!(names("N:Plato;;;;\nFN:x"), "Plato|");
    assert_eq!(names("N:;;;;\nFN:Ada Lovelace"), "Ada Lovelace|");
    assert_eq!(names("FN:Ada Lovelace"), "Ada Lovelace|");
    let error = read_in(Some("UTC"), "BDAY:--0101").expect_err("an error");
    assert_eq!(error, "FN: is missing");
}

#[test]
fn birth_dates_of_all_versions_are_read() {
    for (line, expected) in [
        ("BDAY:19960415", "1996-04-15"),
        ("BDAY:1996-04-15", "1996-04-15"),
        ("BDAY;VALUE=date:1996-04-15", "1996-04-15"),
        ("BDAY:--0415", "--04-15"),
        ("BDAY:--04-15", "--04-15"),
        ("BDAY:--0229", "--02-29"),
        ("BDAY:19531015T231000Z", "1953-10-15"),
        ("BDAY:1953-10-15T23:10:00-05:00", "1953-10-15"),
        ("BDAY;VALUE=date-and-or-time:--1015T2310", "--10-15"),
        ("BDAY:1953-10-15 00:00", "1953-10-15"),
        ("BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-15", "--04-15"),
        ("BDAY;value=date:1604-02-29", "--02-29"),
        ("item3.BDAY:19960415", "1996-04-15"),
    ] {
        let user = read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(user.birth_date.to_string(), expected, "{line}");
    }
    for (line, reason) in [
        ("NOTE:x", "BDAY: is missing"),
        ("BDAY:", "BDAY: is missing"),
        ("BDAY;VALUE=text:circa 1800", "BDAY: invalid date \"circa 1800\""),
        ("BDAY:1996", "expected YYYYMMDD"),
        ("BDAY:1996-04", "expected YYYYMMDD"),
        ("BDAY:---15", "expected YYYYMMDD"),
        ("BDAY:T102200", "expected YYYYMMDD"),
        ("BDAY:15.04.1996", "expected YYYYMMDD"),
        ("BDAY:1996-0415", "expected YYYYMMDD"),
        ("BDAY:--04-1é", "expected YYYYMMDD"),
        ("BDAY:19960230", "1996-02 has the days 01 to 29"),
        ("BDAY:20990101", "in the future"),
    ] {
        let error = read(line).expect_err(line);
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn a_zone_is_an_iana_name_and_an_offset_is_rejected() {
    let zone = |default: Option<&str>, line: &str| {
        read_in(default, &format!("FN:Ada\nBDAY:--0101\n{line}")).map(|user| user.time_zone.name())
    };
    assert_eq!(zone(Some("Asia/Tokyo"), ""), Ok("Asia/Tokyo"));
    assert_eq!(zone(Some("Asia/Tokyo"), "TZ:Europe/Paris"), Ok("Europe/Paris"));
    assert_eq!(zone(None, "TZ;VALUE=text:Etc/GMT+5"), Ok("Etc/GMT+5"));
    for (line, reason) in [
        ("", "TZ: is missing"),
        ("TZ:-0500", "is an offset from UTC"),
        ("TZ:+01:00", "is an offset from UTC"),
        ("TZ;VALUE=text:-05:00; EST; Raleigh/North America", "is an offset from UTC"),
        ("TZ;VALUE=utc-offset:0500", "is an offset from UTC"),
        ("TZ:Europe/Berln", "did you mean Europe/Berlin?"),
    ] {
        let error = zone(None, line).expect_err(line);
        assert!(error.contains(reason), "{line}: {error}");
    }
    let offset = zone(Some("Asia/Tokyo"), "TZ:-0500").expect_err("an error");
    assert!(offset.contains("America/New_York") && offset.contains("--time-zone"), "{offset}");
}

#[test]
fn the_preferred_address_is_taken() {
    let address = |contact, lines: &str| {
        let user = read(&format!("BDAY:--0101\n{lines}"))?;
        Ok::<_, String>(user.addresses.get(&contact).cloned().flatten())
    };
    let phone = |lines| address(ContactType::Phone, lines);
    let email = |lines| address(ContactType::Email, lines).map(Option::unwrap_or_default);
    assert_eq!(email("EMAIL:a@example.org\nEMAIL;TYPE=pref:b@example.org"), Ok("b@example.org".to_owned()));
    assert_eq!(
        email("EMAIL;INTERNET:a@example.org\nEMAIL;HOME:b@example.org"),
        Ok("a@example.org".to_owned())
    );
    assert_eq!(email("EMAIL:mailto:a@example.org"), Ok("a@example.org".to_owned()));
    let number = |digits: &str| Ok(Some(format!("+4930{digits}")));
    assert_eq!(phone("TEL;TYPE=fax:1\nTEL;TYPE=home:+493011111\nTEL;TYPE=CELL:+493022222"), number("22222"));
    assert_eq!(phone("TEL;CELL:+493011111\nTEL;WORK;PREF:+493022222"), number("22222"));
    assert_eq!(phone("TEL;TYPE=fax:+493011111"), Ok(None));
    assert!(phone("TEL:030 11111").is_err_and(|error| error.starts_with("TEL: invalid phone number")));
}

#[test]
fn each_error_of_a_card_is_reported_with_its_property() {
    let error =
        read_in(None, "FN:A\u{0}\nBDAY:1996\nTZ:-0500\nEMAIL:ada\nTEL:1\nLANG:german").expect_err("an error");
    for part in ["FN: has the control", "BDAY: ", "TZ: ", "EMAIL: ", "TEL: ", "LANG: "] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(error.matches("BDAY").count(), 1, "{error}");
    let error = read("BDAY:19960415\nUID").expect_err("an error");
    assert!(error.contains("\"UID\" is not a property"), "{error}");
}

#[test]
fn a_card_of_a_phone_is_read() {
    // As Android, Outlook and iOS write them.
    let text = "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=BCrgen;;;\nFN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=\n=BCrgen\n\
                TEL;CELL:+49 (0) 171-1234567\nEMAIL;PREF;INTERNET:j@example.org\nBDAY:1980-02-29\nEND:x";
    let user = read_in(Some("Europe/Berlin"), text).expect("a user");
    assert_eq!((user.first_name.as_str(), user.last_name.as_str()), ("Jürgen", "Müller"));
    assert_eq!(user.addresses[&ContactType::Phone].as_deref(), Some("+491711234567"));
    let text = "PRODID:-//Apple Inc.//iOS 18//EN\nN:Zohar;Dana;;;\nFN:Dana Zohar\nitem1.TEL;type=pref;type=CELL:+972 54 433 3834\n\
                item1.X-ABLabel:x\nBDAY;X-APPLE-OMIT-YEAR=1604:1604-07-30\nUID:599";
    let user = read_in(Some("Asia/Jerusalem"), text).expect("a user");
    assert_eq!((user.birth_date.to_string().as_str(), user.external_id.as_deref()), ("--07-30", Some("599")));
}

proptest! {
    #[test]
    fn no_card_panics_the_parser(lines in "((BDAY|TZ|TEL|EMAIL|N|FN|LANG|UID)[;:=A-Z0-9é+\\-,]{0,20}\n){0,6}") {
        let _ = read_in(Some("UTC"), &lines);
    }
}

//! Content lines of a vCard: `group.NAME;PARAMETER=value:value`, folded over several lines.

use crate::calendar::text::shortened;

/// One property of a card. Its name is in upper case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) name: String,
    /// Names in upper case. A parameter without a name, as in vCard 2.1, is a `TYPE`.
    parameters: Vec<(String, String)>,
    /// Decoded, and still [escaped](unescape).
    value: String,
}

/// Returns the name of the property on a line: upper case, without its group.
pub(super) fn name_of(line: &str) -> String {
    let name = line.split([':', ';']).next().unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default().trim().to_ascii_uppercase()
}

/// Joins folded lines. Beyond the first, each line of a fold begins with a blank or tab; in quoted-printable, the line before ends with
/// `=`.
pub(super) fn unfold(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut is_quoted = false;
    for line in text.lines() {
        if let Some(last) = lines.last_mut() {
            if is_quoted && last.ends_with('=') {
                last.pop();
                last.push_str(line);
                continue;
            }
            if let Some(rest) = line.strip_prefix([' ', '\t']) {
                last.push_str(rest);
                continue;
            }
        }
        is_quoted = header(line).is_some_and(|(header, _)| {
            header.to_ascii_uppercase().split([';', '=']).any(|part| part == "QUOTED-PRINTABLE")
        });
        lines.push(line.to_owned());
    }
    lines
}

/// Splits a line at the first colon outside quotes.
fn header(line: &str) -> Option<(&str, &str)> {
    let mut in_quotes = false;
    let colon = line.find(|c: char| {
        in_quotes ^= c == '"';
        c == ':' && !in_quotes
    })?;
    Some((&line[..colon], &line[colon + 1..]))
}

/// Splits `text` at `separator` outside quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut in_quotes = false;
    text.split(move |c: char| {
        in_quotes ^= c == '"';
        c == separator && !in_quotes
    })
}

/// Splits `text` at `separator` where no backslash precedes it.
fn split_unescaped(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |c: char| {
        let was_escaped = std::mem::replace(&mut is_escaped, false);
        is_escaped = c == '\\' && !was_escaped;
        c == separator && !was_escaped
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        plain.push(match escaped {
            Some('n' | 'N') => '\n',
            Some(escaped) => escaped,
            None => c,
        });
    }
    plain
}

impl Property {
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let Some((header, value)) = header(line) else {
            return Err(format!("{:?} is not a property: expected NAME:value", shortened(line)));
        };
        let mut parts = split_unquoted(header, ';');
        let name = name_of(parts.next().unwrap_or_default());
        let parameters = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or(("TYPE", part));
            (name.trim().to_ascii_uppercase(), value.replace('"', "").trim().to_owned())
        });
        let mut property = Self { name, parameters: parameters.collect(), value: String::new() };
        property.value = property.decode(value)?;
        Ok(property)
    }

    fn decode(&self, value: &str) -> Result<String, String> {
        let named = self.parameter("ENCODING").unwrap_or_default().to_ascii_uppercase();
        if matches!(&*named, "BASE64" | "B") || self.has_type("BASE64") {
            return Err(format!("{}: the encoding base64 is not supported for a text", self.name));
        }
        if named != "QUOTED-PRINTABLE" && !self.has_type("QUOTED-PRINTABLE") {
            return Ok(value.to_owned());
        }
        let bytes = quoted_printable::decode(value, quoted_printable::ParseMode::Robust)
            .map_err(|error| format!("{}: invalid quoted-printable text: {error}", self.name))?;
        let charset = self.parameter("CHARSET").unwrap_or("UTF-8").to_ascii_uppercase();
        match &*charset {
            "UTF-8" | "UTF8" | "US-ASCII" => String::from_utf8(bytes)
                .map_err(|_| format!("{}: is not UTF-8: save the file as UTF-8", self.name)),
            "ISO-8859-1" | "LATIN1" => Ok(bytes.into_iter().map(char::from).collect()),
            _ => {
                let charset = shortened(&charset);
                Err(format!("{}: unknown charset {charset:?}: save the file as UTF-8", self.name))
            }
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has_parameter(&self, name: &str) -> bool {
        self.parameter(name).is_some()
    }

    /// Whether the type, or one of several, is `wanted`, in any case.
    pub(super) fn has_type(&self, wanted: &str) -> bool {
        let types = self.parameters.iter().filter(|(name, _)| name == "TYPE");
        types.flat_map(|(_, value)| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
    }

    /// Whether the value type is `wanted`.
    pub(super) fn has_value_type(&self, wanted: &str) -> bool {
        self.parameter("VALUE").is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    }

    /// Returns the rank of this property among those of its name: smaller is preferred.
    pub(super) fn preference(&self) -> u32 {
        let rank = self.parameter("PREF").and_then(|rank| rank.parse().ok());
        rank.unwrap_or(if self.has_type("PREF") { 1 } else { 101 })
    }

    pub(super) fn text(&self) -> String {
        unescape(&self.value).trim().to_owned()
    }

    /// Returns a component of a structured value; several values of the component become words.
    pub(super) fn component(&self, n: usize) -> String {
        let component = split_unescaped(&self.value, ';').nth(n).unwrap_or_default();
        let words: Vec<String> =
            split_unescaped(component, ',').map(|word| unescape(word).trim().to_owned()).collect();
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Property {
        let lines = unfold(text);
        assert_eq!(lines.len(), 1, "{lines:?}");
        Property::parse(&lines[0]).expect("a property")
    }

    #[test]
    fn folded_lines_are_joined() {
        let lines = unfold("FN:Ada Love\r\n lace\r\nNOTE:a\r\n\tb\nUID:1");
        assert_eq!(lines, ["FN:Ada Lovelace", "NOTE:ab", "UID:1"]);
    }

    #[test]
    fn quoted_printable_of_vcard_2_1_is_decoded() {
        let text = "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCl=\nler;J=C3=BCrgen;=\n;;";
        assert_eq!((parse(text).component(0), parse(text).component(1)), ("Müller".into(), "Jürgen".into()));
        assert_eq!(parse("FN;QUOTED-PRINTABLE;CHARSET=ISO-8859-1:Zo=EB").text(), "Zoë");
        for (wrong, reason) in [
            ("FN;ENCODING=QUOTED-PRINTABLE:Zo=EB", "not UTF-8"),
            ("FN;ENCODING=QUOTED-PRINTABLE;CHARSET=KOI8-R:=EB", "unknown charset \"KOI8-R\""),
            ("FN;ENCODING=b:QWRh", "base64"),
        ] {
            let error = Property::parse(wrong).expect_err("an error");
            assert!(error.contains(reason), "{error}");
        }
        // The end of a line is a part of the text only if it is encoded.
        assert_eq!(unfold("FN:1+1=\nUID:2").len(), 2);
    }

    #[test]
    fn groups_quotes_and_escapes_are_understood() {
        let property = parse("item1.EMAIL;type=INTERNET,\"pref\";X-A=\"a:b;c\":ada\\,king@example.org");
        assert_eq!((property.name.as_str(), property.text().as_str()), ("EMAIL", "ada,king@example.org"));
        assert!(property.has_type("Internet") && property.has_type("PREF") && !property.has_type("home"));
        assert_eq!(property.parameter("X-A"), Some("a:b;c"));
        let name = parse("N:O\\;Hara\\, Jr;Ada,Augusta;;;");
        assert_eq!((name.component(0), name.component(1)), ("O;Hara, Jr".into(), "Ada Augusta".into()));
        assert_eq!((name.component(2), name.component(9)), (String::new(), String::new()));
        assert_eq!(parse("NOTE:a\\nb\\\\n\\").text(), "a\nb\\n\\");
    }

    #[test]
    fn the_preferred_property_has_the_smallest_rank() {
        let rank = |text| parse(text).preference();
        assert_eq!((rank("TEL:1"), rank("TEL;PREF=3:1")), (101, 3));
        assert_eq!(
            (rank("TEL;HOME;PREF:1"), rank("TEL;TYPE=cell,pref:1"), rank("TEL;PREF=x:1")),
            (1, 1, 101)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_the_parser(text in "[A-Z.;:=\",\\\\ \n\r\té0-9]{0,200}") {
            for line in unfold(&text) {
                if let Ok(property) = Property::parse(&line) {
                    let _ = (property.text(), property.component(1), property.preference());
                }
            }
        }
    }
}

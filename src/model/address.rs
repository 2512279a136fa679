//! Addresses of contacts and languages, as texts in their normal form.

use lettre::Address;

use super::ContactType;
use crate::calendar::InvalidText;

/// RFC 5321 section 4.5.3.1.3 has 256 for a path, which includes `<` and `>`.
const MAX_EMAIL_BYTES: usize = 254;
/// After the `+`. E.164 has at most 15; the shortest numbers in use with a country code have 8.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
/// Of a Slack user id, without the first letter.
const SLACK_ID_CHARS: std::ops::RangeInclusive<usize> = 5..=20;

/// The languages with a code of two letters (ISO 639-1, whose list is final), and `sh`.
const LANGUAGES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee \
    el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg \
    ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv \
    ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk \
    tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

impl ContactType {
    /// Returns `text` as an address of this type, in its normal form.
    pub fn parse(self, text: &str) -> Result<String, InvalidText> {
        match self {
            Self::Email => parse_email(text),
            Self::Phone => parse_phone(text),
            Self::SlackUserId => parse_slack_user_id(text),
        }
    }
}

/// RFC 5321: at most 64 bytes before the `@`. The address is kept as it is given: before the `@`, case may matter.
fn parse_email(text: &str) -> Result<String, InvalidText> {
    let invalid = |problem: &'static str| InvalidText::new("invalid email address", text, problem);
    if text.len() > MAX_EMAIL_BYTES {
        return Err(invalid("an address has at most 254 bytes"));
    }
    let address: Address =
        text.parse().map_err(|_| invalid("give one address without a name, such as ada@example.org"))?;
    Ok(address.to_string())
}

/// Removes blanks and separators, and the `(0)` between country code and number, which is not dialled.
fn parse_phone(text: &str) -> Result<String, InvalidText> {
    let invalid = || {
        let problem = "give it in international form, such as +491711234567";
        InvalidText::new("invalid phone number", text, problem)
    };
    let dialled = text.replace("(0)", "");
    let is_separator =
        |c: char| c.is_whitespace() || matches!(c, '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2013}');
    let phone: String = dialled.chars().filter(|c| !is_separator(*c)).collect();
    let digits = phone.strip_prefix('+').ok_or_else(invalid)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if is_number && PHONE_DIGITS.contains(&digits.len()) { Ok(phone) } else { Err(invalid()) }
}

fn parse_slack_user_id(text: &str) -> Result<String, InvalidText> {
    let rest = text.strip_prefix(['U', 'W']).unwrap_or_default();
    let is_id = rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if is_id && SLACK_ID_CHARS.contains(&rest.len()) {
        return Ok(text.to_owned());
    }
    let problem = "copy the member ID from the profile in Slack, such as U012AB3CD";
    Err(InvalidText::new("invalid Slack user id", text, problem))
}

/// Returns a BCP 47 tag of a language, and optionally a script, a region or a variant, such as `pt-BR`. Accepts `_` for `-`.
pub(crate) fn parse_locale(text: &str) -> Result<String, InvalidText> {
    let problem = "give a language and optionally a region, such as de or pt-BR";
    let unknown = || InvalidText::new("unknown locale", text, problem);
    let tag = text.replace('_', "-").to_ascii_lowercase();
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    let is_language = match language.len() {
        2 => LANGUAGES.split_ascii_whitespace().any(|known| known == language),
        3 => language.bytes().all(|byte| byte.is_ascii_lowercase()),
        _ => false,
    };
    let mut locale = language.to_owned();
    let mut count = 0;
    for part in parts {
        count += 1;
        let is_part = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_part || count > 3 {
            return Err(unknown());
        }
        locale.push('-');
        locale.push_str(&with_usual_case(part, count));
    }
    if is_language { Ok(locale) } else { Err(unknown()) }
}

/// RFC 5646 section 2.1.1: a script as `Latn`, a region as `BR`.
fn with_usual_case(part: &str, position: usize) -> String {
    match part.len() {
        2 => part.to_ascii_uppercase(),
        4 if position == 1 && part.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            part[..1].to_ascii_uppercase() + &part[1..]
        }
        _ => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(kind: ContactType, texts: &[(&str, Option<&str>)]) {
        for (text, expected) in texts {
            assert_eq!(kind.parse(text).ok().as_deref(), *expected, "{kind} {text:?}");
        }
    }

    #[test]
    fn an_email_address_has_a_bounded_local_part_and_a_domain() {
        let local = |length: usize| format!("{}@example.org", "x".repeat(length));
        let long = format!("{}@{}.org", "x".repeat(64), ["d".repeat(60).as_str(); 3].join("."));
        let too_long = long.replace(".org", ".example");
        assert_eq!((long.len(), too_long.len()), (251, 255));
        parsed(
            ContactType::Email,
            &[
                ("ada@example.org", Some("ada@example.org")),
                ("Ada.King+hr@Example.ORG", Some("Ada.King+hr@Example.ORG")),
                ("\"ada king\"@example.org", Some("\"ada king\"@example.org")),
                ("ada@münchen.example", Some("ada@münchen.example")),
                (&local(64), Some(&local(64))),
                (&local(65), None),
                (&long, Some(&long)),
                (&too_long, None),
            ],
        );
        let wrong = [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@example..org",
            "a da@example.org",
            "ada@exa mple.org",
            "ada@example.org, eve@example.org",
            "Ada <ada@example.org>",
            "ada@example.org\r\nBcc: eve@example.org",
            ".ada@example.org",
            "ada@-example.org",
        ];
        parsed(ContactType::Email, &wrong.map(|text| (text, None)));
    }

    #[test]
    fn a_phone_number_is_stored_without_separators() {
        parsed(
            ContactType::Phone,
            &[
                ("+491711234567", Some("+491711234567")),
                ("+49 171 123-45 67", Some("+491711234567")),
                ("+49 (0) 171/1234567", Some("+491711234567")),
                ("+1 (415) 555.2671", Some("+14155552671")),
                ("+12345678", Some("+12345678")),
                ("+1234567", None),
                ("+123456789012345", Some("+123456789012345")),
                ("+1234567890123456", None),
            ],
        );
        let wrong = [
            "",
            "+",
            "0171 123",
            "0049 171 1234567",
            "+0171 1234567",
            "+49 171 CALL",
            "++491711234567",
            "+٤٩١٧١١٢٣٤٥٦٧",
        ];
        parsed(ContactType::Phone, &wrong.map(|text| (text, None)));
        let error = ContactType::Phone.parse("0171 123").expect_err("an error").to_string();
        let expected =
            "invalid phone number \"0171 123\": give it in international form, such as +491711234567";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_slack_user_id_begins_with_u_or_w() {
        parsed(
            ContactType::SlackUserId,
            &[
                ("U012AB3CD", Some("U012AB3CD")),
                ("W0ABCD", Some("W0ABCD")),
                ("W0ABC", None),
                ("C012AB3CD", None),
                ("u012ab3cd", None),
                ("@ada", None),
                ("", None),
            ],
        );
        let id = |chars: usize| format!("U{}", "A".repeat(chars));
        assert!(
            ContactType::SlackUserId.parse(&id(20)).is_ok()
                && ContactType::SlackUserId.parse(&id(21)).is_err()
        );
    }

    #[test]
    fn a_locale_is_stored_in_the_usual_case() {
        for (text, expected) in [
            ("de", Some("de")),
            ("PT-br", Some("pt-BR")),
            ("pt_BR", Some("pt-BR")),
            ("zh-hant-tw", Some("zh-Hant-TW")),
            ("es-419", Some("es-419")),
            ("sl-Rozaj-biske", Some("sl-rozaj-biske")),
            ("gsw-CH", Some("gsw-CH")),
            ("", None),
            ("d", None),
            ("jp", None),
            ("german", None),
            ("de-", None),
            ("de--DE", None),
            ("de-abcdefghi", None),
            ("de-a-b-c", Some("de-a-b-c")),
            ("de-a-b-c-d", None),
            ("dé", None),
            ("en_US.UTF-8", None),
        ] {
            assert_eq!(parse_locale(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_languages_are_sorted_codes_of_two_letters() {
        let languages: Vec<&str> = LANGUAGES.split_ascii_whitespace().collect();
        assert!(languages.iter().all(|code| code.len() == 2) && languages.is_sorted());
        assert_eq!(languages.len(), 184);
    }
}

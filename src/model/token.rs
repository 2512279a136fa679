//! Bearer tokens of the API: `bday_`, 43 random letters and digits, and a checksum of 6.
//!
//! The prefix is for secret scanners. The checksum distinguishes a mistyped token from an unknown one without a query; it does not
//! protect the token. The database stores only a hash.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::calendar::InvalidText;
use crate::calendar::text::named_enum;

const PREFIX: &str = "bday_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is a little over 2^256.
const RANDOM_CHARS: usize = 43;
/// 62^6 is over 2^32.
const CHECK_CHARS: usize = 6;
const MAX_NAME_CHARS: usize = 60;

named_enum! {
    /// What a token allows. Each scope includes those before it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema, clap::ValueEnum)]
    #[serde(rename_all = "lowercase")]
    pub enum Scope ("scope") {
        /// Subscribe to the calendar of the greetings ahead
        Calendar = "calendar",
        /// Also read everything else, except tokens and the audit log
        Read = "read",
        /// Also change and import users
        Write = "write",
        /// Also operate: pause and resume, dead letters, events, tokens, the audit log
        Admin = "admin",
    }
}

named_enum! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum TokenState ("token state") {
        Live = "live",
        Expired = "expired",
        Revoked = "revoked",
    }
}

/// Returns `text` as the name of a token, by the rule of the database.
pub fn parse_token_name(text: &str) -> Result<String, InvalidText> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if (1..=MAX_NAME_CHARS).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    let problem = "use 1 to 60 letters, digits, dots, hyphens and underscores";
    Err(InvalidText::new("invalid name", text, problem))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid SHA-256 hash: expected 64 hexadecimal digits, as printed by `bday token generate`")]
pub struct InvalidHash;

impl FromStr for TokenHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let digits: Option<Vec<u8>> = text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
        let digits: [u8; 64] = digits.and_then(|digits| digits.try_into().ok()).ok_or(InvalidHash)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(hash))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("a token begins with bday_ and has 54 characters")]
    Format,
    #[error("the checksum does not match: the token was mistyped or cut off")]
    Checksum,
}

/// A token in clear text. It is shown once, at its creation.
#[derive(Debug)]
pub struct Token(SecretString);

impl Token {
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut random = String::with_capacity(RANDOM_CHARS);
        while random.len() < RANDOM_CHARS {
            let mut bytes = [0; 64];
            getrandom::fill(&mut bytes)?;
            // The largest byte values would make some characters more likely.
            let unbiased = bytes.iter().filter(|byte| usize::from(**byte) < 256 / 62 * 62);
            let chars = unbiased.map(|byte| char::from(ALPHABET[usize::from(*byte) % 62]));
            random.extend(chars.take(RANDOM_CHARS - random.len()));
        }
        let check = checksum(&random);
        Ok(Self(format!("{PREFIX}{random}{check}").into()))
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    #[must_use]
    pub fn hash(&self) -> TokenHash {
        hash(self.expose())
    }

    pub fn hash_of(text: &str) -> Result<TokenHash, InvalidToken> {
        let body = text.strip_prefix(PREFIX).ok_or(InvalidToken::Format)?;
        let well_formed =
            body.len() == RANDOM_CHARS + CHECK_CHARS && body.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !well_formed {
            return Err(InvalidToken::Format);
        }
        let (random, check) = body.split_at(RANDOM_CHARS);
        if checksum(random) == check { Ok(hash(text)) } else { Err(InvalidToken::Checksum) }
    }
}

fn hash(text: &str) -> TokenHash {
    TokenHash(Sha256::digest(text.as_bytes()).into())
}

fn checksum(text: &str) -> String {
    let mut rest = crc32(text.as_bytes());
    let mut chars = [char::from(ALPHABET[0]); CHECK_CHARS];
    for digit in chars.iter_mut().rev() {
        *digit = char::from(ALPHABET[rest as usize % 62]);
        rest /= 62;
    }
    chars.iter().collect()
}

/// CRC-32 as in zip files, without a table: the input has 43 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip_files() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(""), "000000");
    }

    #[test]
    fn new_tokens_differ_and_keep_their_hash() {
        let (one, other) = (Token::generate().expect("one"), Token::generate().expect("another"));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 54);
        assert_eq!(Token::hash_of(one.expose()), Ok(one.hash()));
        assert_eq!(one.hash().to_string().parse(), Ok(one.hash()));
        assert!(!format!("{one:?}").contains(&one.expose()[5..]));
    }

    #[test]
    fn a_changed_character_fails_the_checksum() {
        let token = Token::generate().expect("a token");
        for at in 5..token.expose().len() {
            let other = if token.expose().as_bytes()[at] == b'x' { "y" } else { "x" };
            let mut wrong = token.expose().to_owned();
            wrong.replace_range(at..=at, other);
            assert_eq!(Token::hash_of(&wrong), Err(InvalidToken::Checksum), "{at}");
        }
        let short = &token.expose()[..53];
        for wrong in [short, "", "bday_", "ghp_x", &format!("{short}ä"), &format!(" {short}")] {
            assert_eq!(Token::hash_of(wrong), Err(InvalidToken::Format), "{wrong}");
        }
    }

    #[test]
    fn a_hash_is_64_digits() {
        for wrong in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
            assert_eq!(wrong.parse::<TokenHash>(), Err(InvalidHash), "{wrong}");
        }
    }

    #[test]
    fn the_name_of_a_token_has_1_to_60_letters_digits_and_signs() {
        for name in ["a", "HR-2.sync_1", &"x".repeat(60)] {
            assert_eq!(parse_token_name(name).as_deref(), Ok(name));
        }
        for wrong in ["", "a b", "ä", "a/b", &"x".repeat(61)] {
            assert!(parse_token_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scope_includes_those_before_it() {
        assert!(Scope::ALL.is_sorted());
        assert_eq!(Scope::ALL[0], Scope::Calendar);
        assert_eq!("write".parse(), Ok(Scope::Write));
        assert!("root".parse::<Scope>().is_err());
    }
}

//! How pages show instants: in UTC, and in the zone of the person if there is one.

use std::fmt;

use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::calendar::{Zone, utc_offset};

/// An instant as a `<time>` element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    at: DateTime<Utc>,
    zone: Option<Zone>,
}

impl Moment {
    pub(super) fn utc(at: DateTime<Utc>) -> Self {
        Self { at, zone: None }
    }

    /// Shows local time and UTC.
    pub(super) fn in_zone(at: DateTime<Utc>, zone: Zone) -> Self {
        Self { at, zone: Some(zone) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "<time datetime=\"{machine}\">")?;
        match self.zone {
            None => write!(f, "{}", self.at.format("%Y-%m-%d %H:%M:%S UTC"))?,
            Some(zone) => {
                let local = zone.local(self.at);
                let offset = utc_offset(local, self.at);
                write!(f, "{} ({offset}), {}", local.format("%Y-%m-%d %H:%M"), self.at.format("%H:%M UTC"))?;
            }
        }
        f.write_str("</time>")
    }
}

/// Digits and fixed words only.
impl HtmlSafe for Moment {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_shown_in_the_zone_of_the_person_and_in_utc() {
        let at = DateTime::from_timestamp(1_780_000_000, 0).expect("an instant");
        assert_eq!(
            Moment::utc(at).to_string(),
            "<time datetime=\"2026-05-28T20:26:40Z\">2026-05-28 20:26:40 UTC</time>"
        );
        let tokyo = Zone::parse("Asia/Tokyo").expect("a zone");
        assert_eq!(
            Moment::in_zone(at, tokyo).to_string(),
            "<time datetime=\"2026-05-28T20:26:40Z\">2026-05-29 05:26 (+09:00), 20:26 UTC</time>"
        );
    }
}

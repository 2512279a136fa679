//! The greetings of a local date on their way around the world: one column for each hour (UTC) in which it is 09:00 somewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{
    DateTime, DurationRound as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _, Utc,
};

use super::{Counts, Svg};
use crate::calendar::Zone;
use crate::store::DayStatistics;

const COLUMN: i64 = 38;
const BAR: i64 = 26;
const TOP: i64 = 22;
const HEIGHT: i64 = 120;
const LABELS: i64 = 92;
/// Room for the first label.
const LEFT: i64 = 36;

/// Large cities around the world, from east to west.
const PLACES: [(&str, &str); 32] = [
    ("Kiritimati", "Pacific/Kiritimati"),
    ("Apia", "Pacific/Apia"),
    ("Auckland", "Pacific/Auckland"),
    ("Nouméa", "Pacific/Noumea"),
    ("Sydney", "Australia/Sydney"),
    ("Brisbane", "Australia/Brisbane"),
    ("Tokyo", "Asia/Tokyo"),
    ("Shanghai", "Asia/Shanghai"),
    ("Singapore", "Asia/Singapore"),
    ("Jakarta", "Asia/Jakarta"),
    ("Dhaka", "Asia/Dhaka"),
    ("Delhi", "Asia/Kolkata"),
    ("Karachi", "Asia/Karachi"),
    ("Dubai", "Asia/Dubai"),
    ("Istanbul", "Europe/Istanbul"),
    ("Nairobi", "Africa/Nairobi"),
    ("Cairo", "Africa/Cairo"),
    ("Johannesburg", "Africa/Johannesburg"),
    ("Berlin", "Europe/Berlin"),
    ("Lagos", "Africa/Lagos"),
    ("London", "Europe/London"),
    ("Accra", "Africa/Accra"),
    ("Praia", "Atlantic/Cape_Verde"),
    ("São Paulo", "America/Sao_Paulo"),
    ("Santiago", "America/Santiago"),
    ("New York", "America/New_York"),
    ("Mexico City", "America/Mexico_City"),
    ("Denver", "America/Denver"),
    ("Los Angeles", "America/Los_Angeles"),
    ("Anchorage", "America/Anchorage"),
    ("Honolulu", "Pacific/Honolulu"),
    ("Pago Pago", "Pacific/Pago_Pago"),
];

/// Returns the places where the local hour is `hour` at `at`.
pub(in crate::http::console) fn places_at(at: DateTime<Utc>, hour: u32) -> Vec<&'static str> {
    places(at, |local| local.hour() == hour)
}

fn places(at: DateTime<Utc>, is_there: impl Fn(NaiveDateTime) -> bool) -> Vec<&'static str> {
    let is_in = |name: &str| Zone::parse(name).is_ok_and(|zone| is_there(zone.local(at)));
    PLACES.iter().filter(|(_, zone)| is_in(zone)).map(|(place, _)| *place).collect()
}

/// One hour of the strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::console) struct Hour {
    /// Its beginning (UTC).
    pub(in crate::http::console) start: DateTime<Utc>,
    pub(in crate::http::console) counts: Counts,
}

impl Hour {
    /// Returns where it is 09:00 of `date` at its beginning, or within it.
    pub(in crate::http::console) fn places(&self, date: NaiveDate) -> Vec<&'static str> {
        places(self.start + TimeDelta::minutes(30), |local| local.date() == date && local.hour() == 9)
    }
}

/// Returns the hours from the first 09:00 of the date, at UTC+14, to the last, at UTC-12, and all with greetings.
pub(in crate::http::console) fn hours(day: &DayStatistics) -> Vec<Hour> {
    let midnight = day.date.and_time(NaiveTime::MIN).and_utc();
    let (mut first, mut last) = (midnight - TimeDelta::hours(5), midnight + TimeDelta::hours(21));
    let mut by_hour: BTreeMap<DateTime<Utc>, Counts> = BTreeMap::new();
    for group in &day.groups {
        let hour = group.due_at.duration_trunc(TimeDelta::hours(1)).unwrap_or(group.due_at);
        *by_hour.entry(hour).or_default() += Counts::from(group);
        (first, last) = (first.min(hour), last.max(hour));
    }
    let starts = std::iter::successors(Some(first), |hour| Some(*hour + TimeDelta::hours(1)));
    let hours = starts.take_while(|hour| *hour <= last);
    hours.map(|start| Hour { start, counts: by_hour.get(&start).copied().unwrap_or_default() }).collect()
}

/// Draws the `hours` of `date`, which follow each other, with a line at `now`.
pub(in crate::http::console) fn draw(hours: &[Hour], date: NaiveDate, now: DateTime<Utc>) -> Svg {
    let width = LEFT + COLUMN * hours.len() as i64;
    let (baseline, height) = (TOP + HEIGHT, TOP + HEIGHT + LABELS);
    let most = hours.iter().map(|hour| hour.counts.total()).max().unwrap_or(0).max(1);
    let mut svg = format!(
        "<svg class=\"chart strip\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Greetings by the hour in which they are due\">"
    );
    for (column, hour) in hours.iter().enumerate() {
        draw_hour(&mut svg, hour, date, LEFT + column as i64 * COLUMN, baseline, most);
    }
    let _ = write!(svg, "<path class=\"line\" d=\"M0 {baseline}.5h{width}\"/>");
    if let Some(first) = hours.first() {
        let x = LEFT + (now - first.start).num_minutes() * COLUMN / 60;
        if (LEFT..width).contains(&x) {
            let anchor = if x > width - 2 * COLUMN { "end" } else { "start" };
            let text = if anchor == "end" { x - 4 } else { x + 4 };
            let _ = write!(
                svg,
                "<path class=\"now\" stroke-width=\"2\" d=\"M{x} 4v{}\"/><text class=\"now-text\" x=\"{text}\" y=\"12\" \
                 text-anchor=\"{anchor}\">now {}</text>",
                baseline - 4,
                now.format("%H:%M")
            );
        }
    }
    svg.push_str("</svg>");
    Svg(svg)
}

fn draw_hour(svg: &mut String, hour: &Hour, date: NaiveDate, x: i64, baseline: i64, most: u64) {
    let left = x + (COLUMN - BAR) / 2;
    let _ = write!(svg, "<g><title>{}: {}</title>", hour.start.format("%H:%M UTC"), hour.counts.describe());
    let mut bottom = baseline;
    for (class, _, count) in hour.counts.parts().into_iter().filter(|(.., count)| *count > 0) {
        // At least a line, so that one failure among thousands is visible.
        let bar = ((HEIGHT as u64 * count).div_ceil(most) as i64).max(2);
        bottom -= bar;
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{left}\" y=\"{}\" width=\"{BAR}\" height=\"{bar}\"/>",
            bottom.max(TOP - 2)
        );
    }
    svg.push_str("</g>");
    let middle = x + COLUMN / 2;
    let _ = write!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        baseline + 14,
        hour.start.format("%H")
    );
    if let Some(place) = hour.places(date).first() {
        let y = baseline + 28;
        let _ = write!(
            svg,
            "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"end\" transform=\"rotate(-48 {middle} {y})\">{place}</text>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn the_places_where_it_is_nine_follow_the_sun() {
        assert!(places_at(at("2026-11-30T00:30:00Z"), 9).contains(&"Tokyo"));
        assert!(places_at(at("2026-11-30T08:30:00Z"), 9).contains(&"Berlin"));
        assert!(places_at(at("2026-07-01T07:30:00Z"), 9).contains(&"Berlin"), "in summer time");
        assert!(places_at(at("2026-11-30T03:31:00Z"), 9).contains(&"Delhi"), "an offset with half an hour");
        assert!(places_at(at("2026-11-29T19:30:00Z"), 9).contains(&"Kiritimati"));
    }

    #[test]
    fn every_place_is_in_a_known_zone() {
        for (place, zone) in PLACES {
            assert!(Zone::parse(zone).is_ok(), "{place}: {zone}");
        }
    }

    #[test]
    fn a_single_failure_among_many_is_visible_and_nothing_leaves_the_chart() {
        let counts = Counts { sent: 100_000, failed: 1, ..Counts::default() };
        let now = at("2026-11-30T08:30:00Z");
        let svg = draw(&[Hour { start: at("2026-11-30T08:00:00Z"), counts }], now.date_naive(), now);
        assert!(
            svg.0.contains("<rect class=\"failed\" x=\"42\" y=\"20\" width=\"26\" height=\"2\"/>"),
            "{svg}"
        );
        assert!(svg.0.contains("08:00 UTC: 100000 sent, 1 failed") && svg.0.contains("now 08:30"), "{svg}");
    }
}

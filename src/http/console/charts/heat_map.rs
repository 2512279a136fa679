//! A year of local dates, a column for each week: what was sent, what failed, and what is to come.

use std::fmt::Write as _;

use chrono::{Datelike as _, Days, NaiveDate};

use super::{Counts, Svg};

/// Distance between two cells. The size of a cell is in the style sheet.
const STEP: i64 = 17;
const LEFT: i64 = 32;
const TOP: i64 = 18;
/// Steps of the colour scale.
const SHADES: u64 = 4;

/// One local date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::console) struct Day {
    pub(in crate::http::console) date: NaiveDate,
    /// None: not counted yet.
    pub(in crate::http::console) counts: Option<Counts>,
}

/// Draws `days`, which follow each other. Each cell leads to its day; `today` is outlined.
pub(in crate::http::console) fn draw(days: &[Day], today: NaiveDate) -> Svg {
    let Some(first) = days.first().map(|day| day.date) else {
        return Svg(String::new());
    };
    let monday = first - Days::new(u64::from(first.weekday().num_days_from_monday()));
    let week = |date: NaiveDate| (date - monday).num_days() / 7;
    let weeks = days.last().map_or(0, |day| week(day.date)) + 1;
    let (width, height) = (LEFT + STEP * weeks, TOP + STEP * 7);
    let most = days.iter().filter_map(|day| Some(day.counts?.total())).max().unwrap_or(0).max(1);
    let mut svg = format!(
        "<svg class=\"chart heat-map\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"group\" \
         aria-label=\"Greetings by day\">"
    );
    for (row, name) in [(0, "Mon"), (2, "Wed"), (4, "Fri"), (6, "Sun")] {
        let _ = write!(svg, "<text y=\"{}\">{name}</text>", TOP + STEP * row + 11);
    }
    let mut column = None;
    for day in days {
        let number = week(day.date);
        if column != Some(number) {
            if column.is_some() {
                svg.push_str("</g>");
            }
            let _ = write!(svg, "<g transform=\"translate({} {TOP})\">", LEFT + STEP * number);
            column = Some(number);
        }
        draw_day(&mut svg, day, today, most);
    }
    svg.push_str("</g></svg>");
    Svg(svg)
}

fn draw_day(svg: &mut String, day: &Day, today: NaiveDate, most: u64) {
    let date = day.date;
    if date.day() == 1 {
        let _ = write!(svg, "<text y=\"-6\">{}</text>", date.format("%b"));
    }
    let text = day.counts.map_or_else(|| "not counted yet".to_owned(), describe);
    let mark = if date == today { " today" } else { "" };
    let y = STEP * i64::from(date.weekday().num_days_from_monday());
    let _ = write!(
        svg,
        "<a href=\"/days/{date}\"><rect y=\"{y}\" class=\"{}{mark}\"><title>{date}: {text}</title></rect>",
        class(day.counts, most)
    );
    if date.month() == 2 && date.day() == 29 {
        let _ = write!(svg, "<text class=\"leap\" x=\"7\" y=\"{}\" text-anchor=\"middle\">29</text>", y + 11);
    }
    svg.push_str("</a>");
}

/// A short text: a year has hundreds of these.
fn describe(counts: Counts) -> String {
    let parts = [(counts.sent + counts.late, "sent"), (counts.failed, "failed"), (counts.due, "to come")];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, name)| format!("{count} {name}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Returns the colour by what a day has, and its shade by how much.
fn class(counts: Option<Counts>, most: u64) -> String {
    let Some(counts) = counts else {
        return "unknown".to_owned();
    };
    let sent = counts.sent + counts.late;
    let (kind, count) = match (counts.failed, sent, counts.due) {
        (1.., ..) => ("f", counts.total()),
        (_, _, due) if due > sent => ("d", due),
        (_, 1.., _) => ("s", sent),
        _ => return "n".to_owned(),
    };
    // The square root, so that one busy day does not make all others pale.
    let shade = (count as f64 / most as f64).sqrt() * SHADES as f64;
    format!("{kind}{}", (shade.ceil() as u64).clamp(1, SHADES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn year(counts: impl Fn(NaiveDate) -> Option<Counts>) -> Vec<Day> {
        let first = NaiveDate::from_ymd_opt(2028, 1, 1).expect("a date");
        first.iter_days().take(366).map(|date| Day { date, counts: counts(date) }).collect()
    }

    fn date(month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2028, month, day).expect("a date")
    }

    #[test]
    fn a_day_with_a_failure_has_the_colour_of_failures() {
        let counts = Counts { sent: 999, failed: 1, ..Counts::default() };
        assert_eq!(class(Some(counts), 1000), "f4");
        assert_eq!(class(Some(Counts { sent: 250, ..Counts::default() }), 1000), "s2");
        assert_eq!(class(Some(Counts { due: 1000, ..Counts::default() }), 1000), "d4");
        assert_eq!((class(Some(Counts::default()), 1000), class(None, 1000)), ("n".into(), "unknown".into()));
    }

    #[test]
    fn a_year_fits_in_half_of_a_page() {
        let counts = Counts { sent: 2700, late: 12, failed: 3, skipped: 4, due: 0 };
        let svg = draw(&year(|_| Some(counts)), date(7, 1));
        assert!(svg.0.len() < 45_000, "{} bytes", svg.0.len());
    }

    #[test]
    fn the_leap_day_is_marked_and_today_is_outlined() {
        let svg = draw(&year(|_| None), date(7, 1)).0;
        assert!(
            svg.contains("<title>2028-02-29: not counted yet</title></rect><text class=\"leap\""),
            "{svg}"
        );
        assert_eq!(svg.matches("unknown today\"").count(), 1);
    }
}

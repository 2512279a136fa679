//! The bars of a day as SVG: one for each hour, stacked by outcome.

use std::fmt;

use askama::filters::HtmlSafe;
use chrono::{NaiveDate, Timelike as _};

use super::hours::{HourRow, OUTCOMES};

const WIDTH: f64 = 960.0;
const BAR_HEIGHT: f64 = 160.0;
const HEIGHT: f64 = 200.0;
/// A single hour must not fill the chart.
const MAX_STEP: f64 = 40.0;

#[derive(Debug)]
pub(super) struct HoursChart<'a> {
    pub(super) date: NaiveDate,
    pub(super) hours: &'a [HourRow],
}

impl HoursChart<'_> {
    fn label(&self) -> String {
        let busiest = self.hours.iter().max_by_key(|row| row.counts.total());
        let busiest = busiest.map_or_else(String::new, |row| {
            format!(": the busiest hour is {} UTC with {}", row.hour(), row.counts.total())
        });
        format!("Events of {} by the hour in UTC{busiest}. The table has all figures.", self.date)
    }

    fn bar(f: &mut fmt::Formatter<'_>, row: &HourRow, x: f64, width: f64, highest: i64) -> fmt::Result {
        let mut y = BAR_HEIGHT;
        for (outcome, count) in OUTCOMES.iter().zip(row.counts.0) {
            if count == 0 {
                continue;
            }
            // At least a line, so that a single failure among thousands is visible.
            let height = (count as f64 / highest as f64 * (BAR_HEIGHT - 10.0)).max(1.5);
            y -= height;
            write!(
                f,
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{} UTC: \
                 {count} {}</title></rect>",
                outcome.class,
                row.hour(),
                outcome.name
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for HoursChart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label();
        write!(
            f,
            "<svg class=\"chart wide\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">"
        )?;
        let highest = self.hours.iter().map(|row| row.counts.total()).max().unwrap_or(0).max(1);
        let step = (WIDTH / self.hours.len().max(1) as f64).min(MAX_STEP);
        for (at, row) in self.hours.iter().enumerate() {
            let x = at as f64 * step;
            Self::bar(f, row, x + 1.0, step - 2.0, highest)?;
            if at == 0 || row.at.hour().is_multiple_of(3) {
                let y = BAR_HEIGHT + 16.0;
                write!(f, "<text x=\"{:.1}\" y=\"{y}\">{}</text>", x + 1.0, row.at.format("%H:00"))?;
            }
            if at == 0 || row.at.hour() == 0 {
                let y = BAR_HEIGHT + 32.0;
                let class = if row.at.date_naive() == self.date { " class=\"strong\"" } else { "" };
                write!(f, "<text{class} x=\"{:.1}\" y=\"{y}\">{}</text>", x + 1.0, row.at.format("%-d %b"))?;
            }
        }
        let end = step * self.hours.len() as f64;
        write!(
            f,
            "<line class=\"line\" x1=\"0\" x2=\"{end:.1}\" y1=\"{BAR_HEIGHT}\" y2=\"{BAR_HEIGHT}\"/></svg>"
        )
    }
}

/// Numbers and fixed words only.
impl HtmlSafe for HoursChart<'_> {}

//! `bday forecast`

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use chrono::Datelike as _;
use clap::builder::styling::{AnsiColor, Style};

use super::ConfigSource;
use super::output::{self, Table};
use crate::clock::SharedClock;
use crate::config::parts;
use crate::people::forecast::{DEFAULT_DAYS, Day, Forecast, MAX_DAYS, Minute, forecast};

const EXAMPLES: &str = "\
Examples:
  bday forecast                            the year ahead as a chart
  bday forecast --days 31 | cat            a line a day
  bday forecast --json | jq '.busiestMinutes[0]'

All days and minutes are UTC. People with no send time of their own are due at the kind's, where they live.";
/// From nothing to the busiest day.
const LEVELS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns of the longest bar.
const BAR: u64 = 30;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How many days, today included
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    days: u32,
    /// Print a JSON object, as GET /v1/forecast does
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let store = parts::store(&config).await?;
    store.check_schema().await?;
    let forecast = forecast(&store, &config.schedule(), clock.now(), args.days).await;
    store.close().await;
    let forecast = forecast?;
    if args.json {
        output::json(&forecast)?;
    } else if io::stdout().is_terminal() {
        for line in chart(&forecast, output::coloured()) {
            println!("{line}");
        }
    } else {
        plain(&forecast)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A row a month, a column a day; then bars for the busiest minutes.
fn chart(forecast: &Forecast, colour: bool) -> Vec<String> {
    let (bold, bar) = if colour {
        (Style::new().bold(), AnsiColor::Cyan.on_default())
    } else {
        (Style::new(), Style::new())
    };
    let peak = peak(&forecast.per_day);
    let mut lines = vec![summary(forecast), String::new()];
    let scale = format!("DUE PER DAY ({} = {peak} or more)", LEVELS[LEVELS.len() - 1]);
    lines.push(format!("{bold}{:<8} {scale:<31}  {:>11}  BUSIEST DAY{bold:#}", "MONTH", "DUE"));
    for month in
        forecast.per_day.chunk_by(|a, b| (a.date.year(), a.date.month()) == (b.date.year(), b.date.month()))
    {
        let Some(first) = month.first() else { continue };
        let before = " ".repeat(first.date.day0() as usize);
        let days: String = month.iter().map(|day| level(day.due, peak)).collect();
        let due: u64 = month.iter().map(|day| day.due).sum();
        let after = " ".repeat(31_usize.saturating_sub(first.date.day0() as usize + month.len()));
        let busiest = month.iter().max_by_key(|day| (day.due, std::cmp::Reverse(day.date)));
        let busiest = busiest.filter(|day| day.due > 0).map(|day| format!("{}  {}", day.date, day.due));
        let name = first.date.format("%Y-%m");
        let line = format!(
            "{name:<8} {bar}{before}{days}{bar:#}{after}  {due:>11}  {}",
            busiest.unwrap_or_default()
        );
        lines.push(line.trim_end().to_owned());
    }
    if let Some(Minute { due: most, .. }) = forecast.busiest_minutes.first() {
        lines.push(String::new());
        lines.push(format!("{bold}{:<16} {:<30}  {:>11}  WHERE{bold:#}", "MINUTE (UTC)", "", "DUE"));
        for minute in &forecast.busiest_minutes {
            let length = (minute.due * BAR).div_ceil(*most) as usize;
            let drawn = "█".repeat(length);
            let rest = " ".repeat(BAR as usize - length);
            let at = minute.at.format("%Y-%m-%d %H:%M");
            lines.push(format!("{at} {bar}{drawn}{bar:#}{rest}  {:>11}  {}", minute.due, zones(minute)));
        }
    }
    lines
}

/// What a full column stands for: half as much again as nineteen days in twenty have, so that 1 January, which many
/// systems write for a date they do not know, does not flatten all others.
fn peak(days: &[Day]) -> u64 {
    let mut dues: Vec<u64> = days.iter().map(|day| day.due).collect();
    dues.sort_unstable();
    let usual = dues.get(dues.len() * 19 / 20).copied().unwrap_or(0);
    let most = dues.last().copied().unwrap_or(0);
    if usual == 0 { most } else { most.min(usual + usual / 2) }
}

fn level(due: u64, peak: u64) -> char {
    let steps = LEVELS.len() as u64 - 1;
    // Whatever is not nothing is seen.
    let step = if peak == 0 { 0 } else { (due * steps).div_ceil(peak) };
    LEVELS[step.min(steps) as usize]
}

fn summary(forecast: &Forecast) -> String {
    let until = forecast.per_day.last().map_or(forecast.from, |day| day.date);
    format!(
        "{} greetings are due from {} through {until} (UTC), for {} dates of people",
        forecast.due, forecast.from, forecast.dates
    )
}

fn zones(minute: &Minute) -> String {
    let named: Vec<String> =
        minute.zones.iter().take(3).map(|share| format!("{} {}", share.time_zone, share.due)).collect();
    let named_due: u64 = minute.zones.iter().take(3).map(|share| share.due).sum();
    let more = if named_due < minute.due { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

fn plain(forecast: &Forecast) -> io::Result<()> {
    println!("{}\n", summary(forecast));
    let mut table = Table::new(&["DATE", "DUE"]);
    for Day { date, due } in &forecast.per_day {
        table.row([date.to_string(), due.to_string()]);
    }
    table.print()?;
    println!();
    let mut table = Table::new(&["MINUTE", "DUE", "WHERE"]);
    for minute in &forecast.busiest_minutes {
        table.row([output::instant(minute.at), minute.due.to_string(), zones(minute)]);
    }
    table.print()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;

    #[test]
    fn a_day_with_one_greeting_is_seen_beside_a_day_with_thousands() {
        assert_eq!([0, 1, 5000, 10_000].map(|due| level(due, 10_000)), ['·', '▁', '▄', '█']);
    }

    #[test]
    fn one_crowded_day_does_not_flatten_the_others() {
        let from = NaiveDate::from_ymd_opt(2026, 12, 1).unwrap();
        let days = from.iter_days().take(60).map(|date| {
            let due = if date.month() == 1 && date.day() == 1 { 40_000 } else { 2000 };
            Day { date, due }
        });
        assert_eq!(peak(&days.collect::<Vec<_>>()), 3000);
        assert_eq!(peak(&[]), 0);
    }

    #[test]
    fn the_chart_has_a_row_a_month_and_each_day_in_its_column() {
        let from = NaiveDate::from_ymd_opt(2026, 1, 30).unwrap();
        let dues = [1, 2, 4];
        let per_day = from.iter_days().zip(dues).map(|(date, due)| Day { date, due }).collect();
        let forecast = Forecast { from, days: 3, dates: 7, due: 7, per_day, busiest_minutes: Vec::new() };
        let lines = chart(&forecast, false);
        assert_eq!(lines[3], format!("2026-01  {}▂▄            3  2026-01-31  2", " ".repeat(29)));
        assert_eq!(lines[4], format!("2026-02  █{}            4  2026-02-01  4", " ".repeat(30)));
    }
}

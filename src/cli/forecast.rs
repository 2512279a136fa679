//! `bday forecast`

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use sqlx::types::Json;

use super::ConfigSource;
use super::context::with_database;
use super::output::{self, CYAN, Table};
use crate::calendar::format_count;
use crate::clock::SharedClock;
use crate::people::forecast::{ChannelShare, DEFAULT_DAYS, Day, Forecast, MAX_DAYS, Minute, forecast};

const EXAMPLES: &str = "\
Examples:
  bday forecast                            a row for each month of the year ahead
  bday forecast --days 31                  a row for each day
  bday forecast --json | jq '.busiestMinutes[0]'

Days and minutes are UTC. Users without a send time of their own are due at that of the kind, in their time zone.";
/// A longer forecast has a row for each month.
const MAX_DAY_ROWS: usize = 62;
/// Characters of the longest bar.
const BAR_WIDTH: u64 = 30;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Look this many days ahead, today included
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    days: u32,
    /// Print a JSON object, as GET /v1/forecast does
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let forecast = with_database(source, clock, async |context| {
        let routes = context.config.routes().map(Json);
        let now = context.clock.now();
        Ok(forecast(&context.store, &context.schedule, routes.as_ref(), now, args.days).await?)
    })
    .await?;
    output::json_or(args.json, &forecast, || print(&forecast))?;
    Ok(ExitCode::SUCCESS)
}

fn print(forecast: &Forecast) -> io::Result<()> {
    let Forecast { from, dates, due, channels, per_day, busiest_minutes, .. } = forecast;
    let until = per_day.last().map_or(*from, |day| day.date);
    let due = format_count(*due, "greeting is", "greetings are");
    let dates = format_count(*dates, "date", "dates");
    println!("{due} due from {from} through {until} (UTC), for {dates} of users\n");
    if channels.len() > 1 || channels.iter().any(|share| share.channel.is_none()) {
        let mut table = Table::new(&["CHANNEL", "DUE"]);
        for ChannelShare { channel, due } in channels {
            table.row([channel.clone().unwrap_or_else(|| "(no contact)".to_owned()), due.to_string()]);
        }
        table.print()?;
        println!();
    }
    let table = if per_day.len() <= MAX_DAY_ROWS { days(per_day) } else { months(per_day) };
    table.print()?;
    println!();
    let mut table = Table::new(&["MINUTE (UTC)", "DUE", "TIME ZONES"]);
    for minute in busiest_minutes {
        table.row([minute.at.format("%F %H:%M").to_string(), minute.due.to_string(), zones(minute)]);
    }
    table.print()
}

fn days(days: &[Day]) -> Table {
    let most = days.iter().map(|day| day.due).max().unwrap_or(0);
    let mut table = Table::new(&["DATE", "DUE", ""]).with_style(2, CYAN);
    for Day { date, due } in days {
        table.row([date.to_string(), due.to_string(), bar(*due, most)]);
    }
    table
}

fn months(days: &[Day]) -> Table {
    let name = |day: &Day| day.date.format("%Y-%m").to_string();
    let months: Vec<&[Day]> = days.chunk_by(|a, b| name(a) == name(b)).collect();
    let total = |month: &[Day]| month.iter().map(|day| day.due).sum::<u64>();
    let most = months.iter().map(|month| total(month)).max().unwrap_or(0);
    let mut table = Table::new(&["MONTH", "DUE", "BUSIEST DAY", ""]).with_style(3, CYAN);
    for month in months {
        // The first of equally busy days.
        let Some(busiest) = month.iter().rev().max_by_key(|day| day.due) else { continue };
        table.row([
            name(busiest),
            total(month).to_string(),
            format!("{} ({})", busiest.date, busiest.due),
            bar(total(month), most),
        ]);
    }
    table
}

fn bar(due: u64, most: u64) -> String {
    "█".repeat((due * BAR_WIDTH).div_ceil(most.max(1)) as usize)
}

/// The three zones with most greetings.
fn zones(minute: &Minute) -> String {
    let top = || minute.zones.iter().take(3);
    let named: Vec<String> = top().map(|share| format!("{} {}", share.time_zone, share.due)).collect();
    let rest = if top().map(|share| share.due).sum::<u64>() < minute.due { ", …" } else { "" };
    format!("{}{rest}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(date: &str, dues: &[u64]) -> Vec<Day> {
        let date: chrono::NaiveDate = date.parse().expect("a date");
        date.iter_days().zip(dues).map(|(date, due)| Day { date, due: *due }).collect()
    }

    #[test]
    fn a_day_with_one_greeting_has_a_bar_beside_a_day_with_thousands() {
        let bars = [0, 1, 5000, 10_000].map(|due| bar(due, 10_000).chars().count());
        assert_eq!(bars, [0, 1, 15, 30]);
        assert_eq!(bar(0, 0), "");
    }

    #[test]
    fn a_month_has_its_total_and_its_busiest_day() {
        let table = months(&from("2026-01-29", &[2, 1, 2, 4]));
        let bars = ["█".repeat(30), "█".repeat(24)];
        let expected = format!(
            "MONTH    DUE  BUSIEST DAY\n2026-01  5    2026-01-29 (2)  {}\n2026-02  4    2026-02-01 (4)  {}\n",
            bars[0], bars[1]
        );
        assert_eq!(table.text(false), expected);
    }
}

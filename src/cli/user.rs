//! `bday user`

use std::fs::File;
use std::io::{BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::Days;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::ConfigSource;
use super::output::{self, Table};
use crate::app;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::import;
use crate::model::{FieldNames, NewUser, User, UserInput};
use crate::store::{Store, UserKey, Written};

/// The names of the options.
const OPTIONS: FieldNames = FieldNames {
    first_name: "--first-name",
    last_name: "--last-name",
    birth_date: "--birth-date",
    time_zone: "--time-zone",
    send_at: "--send-at",
    leap_day: "--leap-day",
    external_id: "--external-id",
};
const PAGE: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a person; one with the same --external-id is brought up to date
    #[command(
        after_help = "Examples:\n  bday user add --first-name Ada --last-name Lovelace --birth-date 1815-12-10 --time-zone Europe/London\n  bday user add --first-name Ken --birth-date=--02-29 --time-zone Asia/Tokyo --send-at 07:30 --external-id hr-17"
    )]
    Add(Add),
    /// List people
    #[command(
        after_help = "Examples:\n  bday user list\n  bday user list --limit 0 --json | jq -r .id    all of them, one JSON object a line"
    )]
    List {
        /// How many; 0 is all
        #[arg(long, default_value_t = 50)]
        limit: u64,
        /// Print a JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Import people from a CSV file; running it again is safe
    #[command(
        after_help = "Columns, named in the first line, in any order: first_name,last_name,birth_date,time_zone\nand if wanted: send_at (HH:MM), leap_day (feb28, mar1, leap_years_only), external_id.\nbirth_date is YYYY-MM-DD, or --MM-DD without the year.\n\nA bad line is reported with its number, and the rest goes in. Exit code 1 when there was one.\n\nExamples:\n  bday user import people.csv\n  bday user import people.csv --json | jq '.errors[]'\n  zcat people.csv.gz | bday user import -"
    )]
    Import {
        /// The file; - is standard input
        file: PathBuf,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    #[arg(long)]
    first_name: String,
    #[arg(long, default_value = "")]
    last_name: String,
    /// YYYY-MM-DD, or =--MM-DD without the year
    #[arg(long, allow_hyphen_values = true)]
    birth_date: String,
    /// An IANA name, such as Europe/Berlin
    #[arg(long)]
    time_zone: String,
    /// Local time HH:MM; the default is the kind's
    #[arg(long)]
    send_at: Option<String>,
    /// What 29 February means in a common year: `feb28`, `mar1` or `leap_years_only`
    #[arg(long)]
    leap_day: Option<String>,
    /// Your own name for this person
    #[arg(long)]
    external_id: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    command: Command,
    source: &ConfigSource,
    clock: SharedClock,
) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let store = app::store(&config)?;
    store.check_schema().await?;
    let code = match command {
        Command::Add(args) => add(args, &config, &store, &clock).await,
        Command::List { limit, json } => list(&store, limit, json).await,
        Command::Import { file, json } => import(&file, json, &config, &store, &clock).await,
    };
    store.close().await;
    code
}

async fn add(args: Add, config: &Config, store: &Store, clock: &SharedClock) -> anyhow::Result<ExitCode> {
    let now = clock.now();
    let input = UserInput {
        first_name: &args.first_name,
        last_name: &args.last_name,
        birth_date: &args.birth_date,
        time_zone: &args.time_zone,
        send_at: args.send_at.as_deref(),
        leap_day: args.leap_day.as_deref(),
        external_id: args.external_id.as_deref(),
    };
    let user = match input.check(&OPTIONS, now.date_naive() + Days::new(1)) {
        Ok(user) => user,
        Err(errors) => {
            for error in errors {
                eprintln!("bday: {} {}", error.field, error.problem);
            }
            return Ok(ExitCode::from(2));
        }
    };
    let key = if user.external_id.is_some() {
        UserKey::External
    } else {
        UserKey::Id(Uuid::now_v7())
    };
    let written = store
        .write_users(&config.schedule(), now, &[(key, user.clone())])
        .await?;
    for (id, outcome) in written {
        say_added(id, outcome, &user, args.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn say_added(id: Uuid, outcome: Written, user: &NewUser, json: bool) -> std::io::Result<()> {
    let outcome = match outcome {
        Written::Created => "created",
        Written::Updated => "updated",
        Written::Unchanged => "unchanged",
    };
    if json {
        return output::json(&serde_json::json!({ "id": id, "result": outcome }));
    }
    println!(
        "{outcome} {id}: {} {}, {}, {}",
        user.first_name,
        user.last_name,
        user.birth_date,
        user.time_zone.name()
    );
    Ok(())
}

async fn list(store: &Store, limit: u64, json: bool) -> anyhow::Result<ExitCode> {
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let mut after = Uuid::nil();
    // All of them may be a million: those go out a page at a time, without a table that would have to know the widest.
    let mut table =
        (!json && limit != 0).then(|| Table::new(&["ID", "NAME", "BORN", "TIME ZONE", "AT", "EXTERNAL ID"]));
    while left > 0 {
        let page = store.list_users(after, left.min(u64::from(PAGE)) as u32).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        left -= page.len() as u64;
        for user in page {
            match &mut table {
                Some(table) => table.row(cells(&user)),
                None if json => output::json(&user)?,
                None => println!("{}", cells(&user).join("\t")),
            }
        }
    }
    if let Some(table) = table {
        table.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(user: &User) -> [String; 6] {
    [
        user.id.to_string(),
        format!("{} {}", user.first_name, user.last_name),
        user.birth_date.to_string(),
        user.time_zone.name().to_owned(),
        user.send_at.map(|at| at.to_string()).unwrap_or_default(),
        user.external_id.clone().unwrap_or_default(),
    ]
}

async fn import(
    file: &Path,
    json: bool,
    config: &Config,
    store: &Store,
    clock: &SharedClock,
) -> anyhow::Result<ExitCode> {
    let (schedule, now) = (config.schedule(), clock.now());
    let report = if file.as_os_str() == "-" {
        let input = BufReader::with_capacity(256 * 1024, std::io::stdin());
        import::run(store, &schedule, now, input, |_| {}).await
    } else {
        let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        let bar = progress(opened.metadata().map_or(0, |data| data.len()));
        let input = BufReader::with_capacity(256 * 1024, opened);
        let shown = bar.clone();
        let report = import::run(store, &schedule, now, input, move |bytes| {
            shown.set_position(bytes);
        })
        .await;
        bar.finish_and_clear();
        report
    };
    let report = report.with_context(|| format!("import of {}", file.display()))?;
    if json {
        output::json(&report)?;
    } else {
        for bad in &report.errors {
            eprintln!("line {}: {}", bad.line, bad.reason);
        }
        if report.failed > report.errors.len() as u64 {
            eprintln!(
                "… and {} more bad lines",
                report.failed - report.errors.len() as u64
            );
        }
        println!(
            "created {}, updated {}, unchanged {}, failed {}",
            report.created, report.updated, report.unchanged, report.failed
        );
    }
    Ok(if report.failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// On a terminal only.
fn progress(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} left");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

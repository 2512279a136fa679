//! `bday user`

mod add;
mod delete;
mod export;
mod fields;
mod import;
mod list;
mod show;
mod update;

use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{Days, NaiveDate};
use clap::Subcommand;
use uuid::Uuid;

use super::ConfigSource;
use crate::clock::SharedClock;
use crate::config::parts;
use crate::model::{Schedule, User};
use crate::store::{Store, UserRef};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a person; one with the same --external-id is brought up to date
    Add(add::Args),
    /// Show one person, and what lies ahead
    Show(show::Args),
    /// List people
    List(list::Args),
    /// Change some fields of a person
    Update(update::Args),
    /// Delete a person; what was not sent yet is cancelled
    Delete(delete::Args),
    /// Import people from a CSV or NDJSON file; running it again is safe
    Import(import::Args),
    /// Write all people as CSV or NDJSON
    Export(export::Args),
}

/// What every one of these commands needs.
struct Context {
    store: Store,
    schedule: Schedule,
    clock: SharedClock,
}

pub(super) async fn run(
    command: Command,
    source: &ConfigSource,
    clock: SharedClock,
) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let store = parts::store(&config).await?;
    store.check_schema().await?;
    let context = Context { store, schedule: config.schedule(), clock };
    let code = match command {
        Command::Add(args) => add::run(args, &context).await,
        Command::Show(args) => show::run(args, &context).await,
        Command::List(args) => list::run(args, &context).await,
        Command::Update(args) => update::run(args, &context).await,
        Command::Delete(args) => delete::run(args, &context).await,
        Command::Import(args) => import::run(args, &context).await,
        Command::Export(args) => export::run(args, &context).await,
    };
    context.store.close().await;
    code
}

impl Context {
    /// The latest date that it can be anywhere: in some zone it is tomorrow already.
    fn latest_today(&self) -> NaiveDate {
        self.clock.now().date_naive() + Days::new(1)
    }

    /// The user that goes by this id or external id.
    async fn find(&self, name: &str) -> anyhow::Result<User> {
        let mut found = None;
        if let Ok(id) = Uuid::parse_str(name) {
            found = self.store.user(UserRef::Id(id)).await?;
        }
        if found.is_none() {
            found = self.store.user(UserRef::External(name)).await?;
        }
        let user = found.with_context(|| format!("no user has the id or external id {name:?}"))?;
        Ok(user.with_configured_kinds(&self.schedule))
    }
}

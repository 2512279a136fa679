//! What the commands that use the database share.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use chrono::NaiveDate;
use uuid::Uuid;

use super::ConfigSource;
use crate::calendar::latest_today;
use crate::clock::SharedClock;
use crate::config::{Config, parts};
use crate::model::{Schedule, User};
use crate::operations::dead_letters::DeadLetters;
use crate::pipeline::queue::Queue;
use crate::store::{self, Store, UserHistory, UserRef};

pub(super) struct Context {
    pub(super) config: Config,
    pub(super) schedule: Schedule,
    pub(super) store: Store,
    pub(super) clock: SharedClock,
}

/// Runs `command` on the configured database, whose schema must be current.
pub(super) async fn with_database<T>(
    source: &ConfigSource,
    clock: SharedClock,
    command: impl AsyncFnOnce(&Context) -> Result<T>,
) -> Result<T> {
    run(source.load()?, clock, command).await
}

/// The same for a command that also uses the queue.
pub(super) async fn with_queue<T>(
    source: &ConfigSource,
    clock: SharedClock,
    command: impl AsyncFnOnce(&Context) -> Result<T>,
) -> Result<T> {
    let config = source.load()?;
    config.require_all(false)?;
    run(config, clock, command).await
}

async fn run<T>(
    config: Config,
    clock: SharedClock,
    command: impl AsyncFnOnce(&Context) -> Result<T>,
) -> Result<T> {
    let store = parts::store(&config).await?;
    store.check_schema().await?;
    let context = Context { schedule: config.schedule(), config, store, clock };
    // Boxed: a large future is copied at each await around it.
    let result = Box::pin(command(&context)).await;
    context.store.close().await;
    result
}

impl Context {
    pub(super) async fn queue(&self) -> Result<Arc<dyn Queue>> {
        let queue = parts::queue(&self.config, &self.store, &self.clock).await?;
        if self.config.queue.create {
            queue.create().await?;
        }
        Ok(queue)
    }

    pub(super) async fn dead_letters(&self) -> Result<DeadLetters> {
        let queue = self.queue().await?;
        Ok(DeadLetters::new(&self.config, self.store.clone(), queue, Arc::clone(&self.clock)))
    }

    /// Returns the user with this id or external id.
    pub(super) async fn user(&self, name: &str) -> Result<User> {
        let found = find(name, async |user| self.store.user(user).await).await?;
        let user = found.with_context(|| format!("no user has the id or external id {name:?}"))?;
        Ok(user.with_configured_kinds(&self.schedule))
    }

    /// Returns the records of the user with this id or external id, deleted users included.
    pub(super) async fn history(&self, name: &str) -> Result<UserHistory> {
        let found = find(name, async |user| self.store.user_history(user).await).await?;
        found.with_context(|| {
            format!("no user has or had the id or external id {name:?}: see `bday user list`")
        })
    }

    pub(super) fn latest_today(&self) -> NaiveDate {
        latest_today(self.clock.now())
    }
}

/// Looks an object up by the id of its user, then by the external id: an external id may have the form of an id.
async fn find<T>(
    name: &str,
    look_up: impl AsyncFn(UserRef<'_>) -> store::Result<Option<T>>,
) -> store::Result<Option<T>> {
    if let Ok(id) = Uuid::parse_str(name)
        && let Some(found) = look_up(UserRef::Id(id)).await?
    {
        return Ok(Some(found));
    }
    look_up(UserRef::External(name)).await
}

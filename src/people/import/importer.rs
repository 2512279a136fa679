//! Saves the users of a file, a batch at a time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::report::{ImportError, ImportReport};
use super::user::ImportedUser;
use crate::clock::SharedClock;
use crate::model::{NewUser, Schedule};
use crate::store::{BatchOutcome, InstallationKey, Store, StoreError, UserChange, UserKey, chain};

pub(super) const BATCH: usize = 2000;
/// Five more attempts. The wait doubles each time: 3.1 s in all.
const RETRIES: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(100)).with_max_times(5);

pub(super) struct Importer<'a> {
    store: &'a Store,
    key: &'a InstallationKey,
    schedule: &'a Schedule,
    clock: &'a SharedClock,
    batch: Vec<(u64, ImportedUser)>,
    /// The instants at which this import wrote, one for each batch. A user who was created at one of them was created by it.
    written_at: HashSet<DateTime<Utc>>,
    /// How many equal lines precede, by the id of the first.
    repeats: HashMap<Uuid, u32>,
    report: ImportReport,
}

impl<'a> Importer<'a> {
    pub(super) fn new(
        store: &'a Store,
        key: &'a InstallationKey,
        schedule: &'a Schedule,
        clock: &'a SharedClock,
    ) -> Self {
        Self {
            store,
            key,
            schedule,
            clock,
            batch: Vec::with_capacity(BATCH),
            written_at: HashSet::new(),
            repeats: HashMap::new(),
            report: ImportReport::default(),
        }
    }

    pub(super) async fn add(
        &mut self,
        line: u64,
        parsed: Result<Box<ImportedUser>, String>,
    ) -> Result<(), ImportError> {
        match parsed {
            Err(reason) => self.report.add_invalid(line, reason),
            Ok(imported) => self.batch.push((line, *imported)),
        }
        if self.batch.len() == BATCH { self.save_batch().await } else { Ok(()) }
    }

    pub(super) async fn finish(mut self) -> Result<ImportReport, ImportError> {
        self.save_batch().await?;
        // The reader finds errors some lines ahead of those of the database.
        self.report.errors.sort_by_key(|invalid| invalid.line);
        Ok(self.report)
    }

    async fn save_batch(&mut self) -> Result<(), ImportError> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let first_line = batch.first().map_or(0, |(line, _)| *line);
        let keyed = batch.into_iter().map(|(line, ImportedUser { id, user })| {
            let key = id.map_or_else(|| self.key_of(&user), UserKey::ExportedId);
            (line, (key, user))
        });
        let (lines, users) = keyed.unzip();
        self.save(lines, users).await.map_err(|(attempts, source)| ImportError::Store {
            line: first_line,
            attempts,
            done: Box::new(ImportReport { errors: Vec::new(), ..self.report }),
            source,
        })
    }

    /// Saves the users on `lines`, in rounds: several entries of one user need one round each.
    async fn save(
        &mut self,
        mut lines: Vec<u64>,
        mut users: Vec<(UserKey, NewUser)>,
    ) -> Result<(), (u32, StoreError)> {
        while !users.is_empty() {
            let saved = self.save_with_retries(&users).await?;
            let equal = self.created_by_equal_lines(&users, &saved).await.map_err(|error| (1, error))?;
            let mut rest = Vec::new();
            for ((line, (key, user)), (id, outcome)) in lines.into_iter().zip(users).zip(saved) {
                let next_key = match outcome {
                    BatchOutcome::Saved(UserChange::Unchanged)
                        if equal.contains(&id) && matches!(key, UserKey::NewId(_)) =>
                    {
                        *self.repeats.entry(line_id(self.key, &user, 0)).or_default() += 1;
                        Some(self.key_of(&user))
                    }
                    BatchOutcome::Saved(change) => {
                        self.report.add_change(change);
                        None
                    }
                    BatchOutcome::Deferred => Some(key),
                    BatchOutcome::IdConflict => {
                        let external_id = user.external_id.as_deref().unwrap_or_default();
                        let reason = format!(
                            "id: {id} and the external id {external_id:?} do not belong to the same user: omit one of the two"
                        );
                        self.report.add_invalid(line, reason);
                        None
                    }
                };
                rest.extend(next_key.map(|key| (line, (key, user))));
            }
            (lines, users) = rest.into_iter().unzip();
        }
        Ok(())
    }

    /// Returns the unchanged users without an id or external id that an equal line of this file created: this line is another user.
    async fn created_by_equal_lines(
        &self,
        users: &[(UserKey, NewUser)],
        saved: &[(Uuid, BatchOutcome)],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let unchanged = users.iter().zip(saved).filter(|((key, _), (_, outcome))| {
            *outcome == BatchOutcome::Saved(UserChange::Unchanged) && matches!(key, UserKey::NewId(_))
        });
        let unchanged: Vec<Uuid> = unchanged.map(|(_, (id, _))| *id).collect();
        if unchanged.is_empty() {
            return Ok(HashSet::new());
        }
        let created_at = self.store.users_created_at(&unchanged).await?;
        let by_this_import = created_at.into_iter().filter(|(_, at)| self.written_at.contains(at));
        Ok(by_this_import.map(|(id, _)| id).collect())
    }

    async fn save_with_retries(
        &mut self,
        users: &[(UserKey, NewUser)],
    ) -> Result<Vec<(Uuid, BatchOutcome)>, (u32, StoreError)> {
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            let now = self.clock.now();
            let saving = self.store.save_users(self.schedule, now, users);
            async move { Ok((now, saving.await?)) }
        };
        let saved = attempt.retry(RETRIES).when(StoreError::is_contention).notify(|error, delay| {
            let retry_in_secs = delay.as_secs_f32();
            tracing::info!(error = chain(error), retry_in_secs, "import batch retried");
        });
        let (now, saved) = saved.await.map_err(|error| (attempts, error))?;
        self.written_at.insert(now);
        Ok(saved)
    }

    fn key_of(&self, user: &NewUser) -> UserKey {
        if user.external_id.is_some() {
            return UserKey::ExternalId;
        }
        let first = line_id(self.key, user, 0);
        match self.repeats.get(&first) {
            None => UserKey::NewId(first),
            Some(n) => UserKey::NewId(line_id(self.key, user, *n)),
        }
    }
}

/// Returns the id of the user on the `n`th repetition of a line.
fn line_id(key: &InstallationKey, user: &NewUser, n: u32) -> Uuid {
    let NewUser { first_name, last_name, birth_date, time_zone, .. } = user;
    key.line_id(&format!("{first_name}\0{last_name}\0{birth_date}\0{}\0{n}", time_zone.name()))
}

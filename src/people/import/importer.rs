//! Saves the users of a file, a batch at a time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::reader::ParsedRow;
use super::rejects::Rejects;
use super::report::{ImportError, ImportReport};
use super::user::ImportedUser;
use crate::clock::SharedClock;
use crate::model::{NewUser, Schedule};
use crate::store::{BatchOutcome, InstallationKey, Store, StoreError, UserChange, UserKey, chain};

pub(super) const BATCH: usize = 2000;
/// Of the rows that a batch keeps, since the database may reject them.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// Five more attempts. The wait doubles each time: 3.1 s in all.
const RETRIES: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(100)).with_max_times(5);

pub(super) struct Importer<'a> {
    store: &'a Store,
    key: &'a InstallationKey,
    schedule: &'a Schedule,
    clock: &'a SharedClock,
    dry_run: bool,
    rejects: Option<Rejects>,
    batch: Vec<(Row, ImportedUser)>,
    /// Of the texts in `batch`.
    kept_bytes: usize,
    /// The instants at which this import wrote, one for each batch. A user who was created at one of them was created by it.
    written_at: HashSet<DateTime<Utc>>,
    /// How many equal lines precede, by the id of the first.
    repeats: HashMap<Uuid, u32>,
    report: ImportReport,
}

/// The place and the text of a valid row.
#[derive(Debug)]
struct Row {
    line: u64,
    text: Vec<u8>,
}

impl<'a> Importer<'a> {
    pub(super) fn new(
        store: &'a Store,
        key: &'a InstallationKey,
        schedule: &'a Schedule,
        clock: &'a SharedClock,
        dry_run: bool,
        rejects: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Self {
        Self {
            store,
            key,
            schedule,
            clock,
            dry_run,
            rejects: rejects.map(Rejects::new),
            batch: Vec::with_capacity(BATCH),
            kept_bytes: 0,
            written_at: HashSet::new(),
            repeats: HashMap::new(),
            report: ImportReport { dry_run, ..ImportReport::default() },
        }
    }

    /// Sets the line before the rejected rows.
    pub(super) fn set_header(&mut self, line: Vec<u8>) {
        if let Some(rejects) = &mut self.rejects {
            rejects.set_header(line);
        }
    }

    pub(super) async fn add(&mut self, row: ParsedRow) -> Result<(), ImportError> {
        let ParsedRow { line, user, text } = row;
        match user {
            Err(reason) => self.reject(Row { line, text }, reason).await,
            Ok(imported) => {
                self.kept_bytes += text.len();
                self.batch.push((Row { line, text }, *imported));
            }
        }
        let is_full = self.batch.len() == BATCH || self.kept_bytes > MAX_KEPT_BYTES;
        if is_full { self.save_batch().await } else { Ok(()) }
    }

    async fn reject(&mut self, row: Row, reason: String) {
        self.report.add_invalid(row.line, reason);
        if let Some(rejects) = &mut self.rejects {
            rejects.send(row.text).await;
        }
    }

    pub(super) async fn finish(mut self) -> Result<ImportReport, ImportError> {
        self.save_batch().await?;
        // The reader finds errors some lines ahead of those of the database.
        self.report.errors.sort_by_key(|invalid| invalid.line);
        Ok(self.report)
    }

    async fn save_batch(&mut self) -> Result<(), ImportError> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.kept_bytes = 0;
        let first_line = batch.first().map_or(0, |(row, _)| row.line);
        let keyed = batch.into_iter().map(|(row, ImportedUser { id, user })| {
            let key = id.map_or_else(|| self.key_of(&user), UserKey::ExportedId);
            (row, (key, user))
        });
        let (rows, users) = keyed.unzip();
        let saved = if self.dry_run { self.compare(rows, users).await } else { self.save(rows, users).await };
        saved.map_err(|(attempts, source)| ImportError::Store {
            line: first_line,
            attempts,
            done: Box::new(ImportReport { errors: Vec::new(), ..std::mem::take(&mut self.report) }),
            source,
        })
    }

    /// Counts what an import would do with `rows`.
    async fn compare(
        &mut self,
        rows: Vec<Row>,
        users: Vec<(UserKey, NewUser)>,
    ) -> Result<(), (u32, StoreError)> {
        let compared = self.store.compare_users(&users).await.map_err(|error| (1, error))?;
        for ((row, (_, user)), (id, change)) in rows.into_iter().zip(users).zip(compared) {
            match change {
                Some(change) => {
                    self.report.add_change(change);
                    self.report.add_row(row.line, change, user);
                }
                None => self.reject(row, conflict(id, &user)).await,
            }
        }
        Ok(())
    }

    /// Saves the users of `rows`, in rounds: several entries of one user need one round each.
    async fn save(
        &mut self,
        mut rows: Vec<Row>,
        mut users: Vec<(UserKey, NewUser)>,
    ) -> Result<(), (u32, StoreError)> {
        while !users.is_empty() {
            let saved = self.save_with_retries(&users).await?;
            let equal = self.created_by_equal_lines(&users, &saved).await.map_err(|error| (1, error))?;
            let mut rest = Vec::new();
            for ((row, (key, user)), (id, outcome)) in rows.into_iter().zip(users).zip(saved) {
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
                        self.reject(row, conflict(id, &user)).await;
                        continue;
                    }
                };
                rest.extend(next_key.map(|key| (row, (key, user))));
            }
            (rows, users) = rest.into_iter().unzip();
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

fn conflict(id: Uuid, user: &NewUser) -> String {
    let external_id = user.external_id.as_deref().unwrap_or_default();
    format!(
        "id: {id} and the external id {external_id:?} do not belong to the same user: omit one of the two"
    )
}

/// Returns the id of the user on the `n`th repetition of a line.
fn line_id(key: &InstallationKey, user: &NewUser, n: u32) -> Uuid {
    let NewUser { first_name, last_name, birth_date, time_zone, .. } = user;
    key.line_id(&format!("{first_name}\0{last_name}\0{birth_date}\0{}\0{n}", time_zone.name()))
}

//! Import: people from a CSV or NDJSON file, however long, a batch at a time. A bad line is reported and the rest goes in.
//!
//! A line is the whole person: what it leaves blank or out is cleared. Only a CSV file that has no column for a kind
//! leaves the dates of that kind as they are.
//!
//! Running it again is safe. A person with an `id`, as the export gives it, is updated, or created under that id; else one
//! with an `external_id` is updated. One without both is known by its line: the same line in a later run is the same
//! person, while two equal lines in one file are two people.

mod csv;
mod lines;
mod ndjson;

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::model::{FieldError, NewUser, Schedule};
use crate::store::chain;
use crate::store::{InstallationKey, SaveOutcome, Store, StoreError, UserKey};

pub use csv::{HeaderError, Parser};
pub use lines::{Line, Lines};

/// Lines per transaction.
const BATCH: usize = 2000;
/// Bad lines that are reported one by one; the others are only counted.
const MAX_REPORTED: usize = 1000;
/// Of the faults of one line, as many are told.
const MAX_FAULTS: usize = 20;
/// What is told of one line has no more bytes.
const MAX_REASON_BYTES: usize = 2000;
/// How often a batch is tried that concurrent writes get in the way of.
const TRIES: u32 = 6;
/// Before the second try of a batch; doubled before each further one, so 3.1 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Of a line whose id and external id do not belong together.
const CLASH: &str = "id: it belongs to somebody with another external id, or the external id to somebody else: leave one of \
                     the two out";

/// A person, and by what it is known.
type Keyed = (UserKey, NewUser);

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// bday's own id, if it is given.
    pub id: Option<Uuid>,
    /// All else.
    pub user: NewUser,
}

impl Person {
    /// With all that is wrong, of both.
    fn checked(
        id: Result<Option<Uuid>, FieldError>,
        user: Result<NewUser, Vec<FieldError>>,
    ) -> Result<Self, Vec<FieldError>> {
        match (id, user) {
            (Ok(id), Ok(user)) => Ok(Self { id, user }),
            (Ok(_), Err(errors)) => Err(errors),
            (Err(error), user) => Err(std::iter::once(error).chain(user.err().unwrap_or_default()).collect()),
        }
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header, then a record a line.
    Csv,
    /// A JSON object a line, as the API takes it.
    Ndjson,
}

/// A line that did not go in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BadLine {
    /// From 1; the header of a CSV file is line 1.
    pub line: u64,
    /// What is wrong, field by field, and what to do.
    pub reason: String,
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportReport {
    /// People that were not there before.
    pub created: u64,
    /// People of whom something changed.
    pub updated: u64,
    /// People that were there, just like this.
    pub unchanged: u64,
    /// Lines that did not go in.
    pub failed: u64,
    /// The first of these.
    pub errors: Vec<BadLine>,
}

/// Why an import stopped. What was committed until then stays; running it again does the rest.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The first line does not name the columns.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The file cannot be read on.
    #[error("cannot read on after line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Postgres.
    #[error(
        "line {line} and those after it were not imported after {tries} tries (before: created {}, updated {}, unchanged {}, \
         failed {}); run the import again",
        done.created, done.updated, done.unchanged, done.failed
    )]
    Store {
        /// The first line of the batch that failed.
        line: u64,
        /// How often that batch was tried.
        tries: u32,
        /// What was imported before.
        done: Box<ImportReport>,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// What the reading side hands over.
#[derive(Debug)]
enum Item {
    Person(u64, Box<Person>),
    Bad(BadLine),
}

/// Imports `input`. `progress` hears of the bytes read so far. It may take hours, so what is "now" is asked for each batch.
pub async fn run(
    store: &Store,
    schedule: &Schedule,
    clock: &SharedClock,
    format: Format,
    input: impl BufRead + Send + 'static,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<ImportReport, ImportError> {
    let key = store.installation_key().await.map_err(|source| ImportError::Store {
        line: 1,
        tries: 1,
        done: Box::default(),
        source,
    })?;
    let (items, mut taken) = mpsc::channel(BATCH);
    let reader = Reader { schedule: schedule.clone(), clock: Arc::clone(clock), items };
    let reading = tokio::task::spawn_blocking(move || reader.read(format, input, progress));
    let mut import = Importer {
        store,
        key,
        schedule,
        clock,
        written_at: HashSet::new(),
        report: ImportReport::default(),
        repeats: HashMap::new(),
    };
    let mut batch = Vec::with_capacity(BATCH);
    let mut buffer = Vec::with_capacity(BATCH);
    while taken.recv_many(&mut buffer, BATCH).await > 0 {
        for item in buffer.drain(..) {
            match item {
                Item::Bad(line) => import.bad(line),
                Item::Person(line, person) => batch.push((line, *person)),
            }
            if batch.len() == BATCH {
                import.write(&mut batch).await?;
            }
        }
    }
    import.write(&mut batch).await?;
    match reading.await {
        Ok(read) => read?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
    // What the database had to say comes after what the reader saw some lines ahead.
    import.report.errors.sort_by_key(|bad| bad.line);
    Ok(import.report)
}

/// The reading side.
struct Reader {
    schedule: Schedule,
    clock: SharedClock,
    items: mpsc::Sender<Item>,
}

/// How the next line is read.
enum Parsing {
    Header,
    Csv(Parser),
    Ndjson,
}

impl Reader {
    /// Somewhere it is tomorrow already.
    fn today(&self) -> NaiveDate {
        self.clock.now().date_naive() + Days::new(1)
    }

    /// Runs on a thread of its own: files block.
    fn read(&self, format: Format, input: impl BufRead, progress: impl Fn(u64)) -> Result<(), ImportError> {
        let mut lines = Lines::new(input);
        let mut parsing = match format {
            Format::Csv => Parsing::Header,
            Format::Ndjson => Parsing::Ndjson,
        };
        loop {
            let number = lines.number() + 1;
            let line = match lines.next_line() {
                Ok(None) if matches!(parsing, Parsing::Header) => return Err(HeaderError::Empty.into()),
                Ok(None) => return Ok(()),
                Ok(Some(line)) => line,
                Err(source) => {
                    let line = number - 1;
                    return Err(ImportError::Read { line, source });
                }
            };
            let person = match (&mut parsing, line) {
                (Parsing::Header, Line::Text(header)) => {
                    parsing = Parsing::Csv(Parser::new(header, &self.schedule)?);
                    continue;
                }
                (Parsing::Header, long @ Line::TooLong(_)) => {
                    return Err(HeaderError::TooLong(long.problem()).into());
                }
                (Parsing::Header, Line::NotUtf8(_)) => return Err(HeaderError::Unreadable.into()),
                (_, Line::Text(text)) if text.trim_ascii().is_empty() => continue,
                (Parsing::Csv(parser), Line::Text(text)) => parser.person(text, &self.schedule, self.today()),
                (Parsing::Ndjson, Line::Text(text)) => ndjson::person(text, &self.schedule, self.today()),
                (_, other) => Err(other.problem()),
            };
            let item = match person {
                Ok(person) => Item::Person(number, Box::new(person)),
                Err(reason) => Item::Bad(BadLine { line: number, reason: bounded(reason) }),
            };
            if number.is_multiple_of(1000) {
                progress(lines.bytes());
            }
            if self.items.blocking_send(item).is_err() {
                return Ok(());
            }
        }
    }
}

/// What is wrong with a line.
fn in_words(errors: &[FieldError]) -> String {
    let mut told: Vec<String> = errors.iter().take(MAX_FAULTS).map(ToString::to_string).collect();
    let more = errors.len() - told.len();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

/// As much of `reason` as a report may keep, however long the line was: a report has a thousand of them.
fn bounded(mut reason: String) -> String {
    if reason.len() > MAX_REASON_BYTES {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        reason.push('…');
        reason.shrink_to_fit();
    }
    reason
}

struct Importer<'a> {
    store: &'a Store,
    key: &'a InstallationKey,
    schedule: &'a Schedule,
    clock: &'a SharedClock,
    /// When this run has written, once a batch: whoever was created at one of these moments was created by it.
    written_at: HashSet<DateTime<Utc>>,
    report: ImportReport,
    /// How many equal lines there were so far in this run, for lines that came more than once.
    repeats: HashMap<Uuid, u32>,
}

impl Importer<'_> {
    fn bad(&mut self, line: BadLine) {
        self.report.failed += 1;
        if self.report.errors.len() < MAX_REPORTED {
            self.report.errors.push(line);
        }
    }

    async fn write(&mut self, batch: &mut Vec<(u64, Person)>) -> Result<(), ImportError> {
        let line = batch.first().map_or(0, |(line, _)| *line);
        self.write_all(batch).await.map_err(|(tries, source)| ImportError::Store {
            line,
            tries,
            done: Box::new(ImportReport { errors: Vec::new(), ..self.report }),
            source,
        })
    }

    async fn write_all(&mut self, batch: &mut Vec<(u64, Person)>) -> Result<(), (u32, StoreError)> {
        let people = batch.drain(..);
        let (mut lines, mut rest): (Vec<u64>, Vec<Keyed>) =
            people.map(|(line, person)| (line, (self.key(person.id, &person.user), person.user))).unzip();
        while !rest.is_empty() {
            let written = self.write_part(&rest).await?;
            let repeats = self.repeats_in(&rest, &written).await.map_err(|error| (1, error))?;
            let (mut later_lines, mut later) = (Vec::new(), Vec::new());
            for ((line, (key, user)), (id, outcome)) in lines.into_iter().zip(rest).zip(written) {
                let again = match outcome {
                    SaveOutcome::Created => {
                        self.report.created += 1;
                        None
                    }
                    SaveOutcome::Updated => {
                        self.report.updated += 1;
                        None
                    }
                    SaveOutcome::Unchanged if repeats.contains(&id) && matches!(key, UserKey::Id(_)) => {
                        *self.repeats.entry(line_id(self.key, &user, 0)).or_default() += 1;
                        Some(self.key(None, &user))
                    }
                    SaveOutcome::Unchanged => {
                        self.report.unchanged += 1;
                        None
                    }
                    SaveOutcome::Later => Some(key),
                    SaveOutcome::Clash => {
                        let reason = CLASH.to_owned();
                        self.bad(BadLine { line, reason });
                        None
                    }
                };
                if let Some(key) = again {
                    later_lines.push(line);
                    later.push((key, user));
                }
            }
            (lines, rest) = (later_lines, later);
        }
        Ok(())
    }

    /// The users among those `written` that an equal line of this run created before: an equal line is another person.
    async fn repeats_in(
        &self,
        people: &[Keyed],
        written: &[(Uuid, SaveOutcome)],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let unsure = people.iter().zip(written).filter(|((key, _), (_, outcome))| {
            *outcome == SaveOutcome::Unchanged && matches!(key, UserKey::Id(_))
        });
        let unsure: Vec<Uuid> = unsure.map(|(_, (id, _))| *id).collect();
        if unsure.is_empty() {
            return Ok(HashSet::new());
        }
        let created_at = self.store.users_created_at(&unsure).await?;
        let by_this_run = created_at.into_iter().filter(|(_, at)| self.written_at.contains(at));
        Ok(by_this_run.map(|(id, _)| id).collect())
    }

    /// On an error, how often the batch was tried.
    async fn write_part(&mut self, part: &[Keyed]) -> Result<Vec<(Uuid, SaveOutcome)>, (u32, StoreError)> {
        let (mut tries, mut pause) = (1, FIRST_PAUSE);
        loop {
            let now = self.clock.now();
            match self.store.save_users(self.schedule, now, part).await {
                Err(error) if error.is_contention() && tries < TRIES => {
                    tracing::info!(error = chain(&error), tries, "import batch retried");
                    tokio::time::sleep(pause).await;
                    tries += 1;
                    pause *= 2;
                }
                Err(error) => return Err((tries, error)),
                Ok(written) => {
                    self.written_at.insert(now);
                    return Ok(written);
                }
            }
        }
    }

    fn key(&self, id: Option<Uuid>, user: &NewUser) -> UserKey {
        if let Some(id) = id {
            return UserKey::Own(id);
        }
        if user.external_id.is_some() {
            return UserKey::ExternalId;
        }
        let first = line_id(self.key, user, 0);
        match self.repeats.get(&first) {
            None => UserKey::Id(first),
            Some(n) => UserKey::Id(line_id(self.key, user, *n)),
        }
    }
}

/// The id of the person on the `n`th line like this one.
fn line_id(key: &InstallationKey, user: &NewUser, n: u32) -> Uuid {
    let NewUser { first_name, last_name, birth_date, time_zone, .. } = user;
    key.line_id(&format!("{first_name}\0{last_name}\0{birth_date}\0{}\0{n}", time_zone.name()))
}

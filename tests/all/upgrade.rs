//! Two versions on one database and one queue: forward, side by side, and back.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bday::model::EventState::{Dead, Delivered};
use bday::store::UserRef;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::Executor as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::serve::{People, Place, QUEUE, file, people};
use crate::support::database::Database;
use crate::support::process::{Bday, Running};
use crate::support::receiver::{Behaviour, Receiver};
use crate::support::sqs::Sqs;
use crate::support::wait::eventually;
use crate::support::world::World;

/// Names the binary of the older version.
const FROM: &str = "BDAY_UPGRADE_FROM";

#[tokio::test(flavor = "multi_thread")]
async fn an_older_binary_works_on_a_newer_schema() {
    let place = Place::new().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of the next version', true, '\\x00', 0)";
    place.database.pool().await.execute(newer).await.unwrap();
    let migrated = place.bday(&["migrate"]).finish().await;
    assert!(migrated.status.success(), "{migrated:?}");
    place.people_who_are_due(5).await;
    let mut daemon = place.serve();
    place.receiver.until_accepted(5).await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    place.assert_each_once(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_lands_after_a_newer_one_is_not_passed_over() {
    let place = Place::new().await;
    let undo = "DROP TABLE zone_data; DELETE FROM _sqlx_migrations WHERE version = 13";
    let pool = place.database.pool().await;
    pool.execute(undo).await.unwrap();
    let waits = place
        .bday(&["serve"])
        .env("BDAY__DATABASE__MIGRATE", "false")
        .start();
    let line = waits.logged("not ready yet").await;
    assert!(
        line["error"].as_str().unwrap().contains("lacks migration 13"),
        "{line}"
    );
    place.serve().ready().await;
    pool.execute("SELECT version FROM zone_data").await.unwrap();
}

/// The fleet while it is upgraded.
struct Upgrade {
    place: Place,
    old: PathBuf,
    new: PathBuf,
    /// Whose commands the people in the office use; they take turns.
    office: Mutex<Vec<PathBuf>>,
    added: AtomicUsize,
}

impl Upgrade {
    fn bday(&self, program: &Path, arguments: &[&str]) -> Bday {
        Bday::program(program, arguments)
            .envs(self.place.sqs.env())
            .env("BDAY__DATABASE__URL", self.place.database.url())
            .env("BDAY__QUEUE__SQS__URL", self.place.sqs.queue_url(QUEUE))
            .env("BDAY__QUEUE__CREATE", "true")
            .env("BDAY__WEBHOOK__URL", self.place.receiver.url())
            // Every version has this value.
            .env("BDAY__HTTP__AUTH", "required")
    }

    async fn serve(&self, program: &Path) -> Running {
        let daemon = self.bday(program, &["serve"]).start();
        daemon.ready().await;
        daemon
    }

    async fn run(&self, program: &Path, arguments: &[&str]) {
        let ended = self.bday(program, arguments).finish().await;
        assert!(
            ended.status.success(),
            "{} {arguments:?}: {ended:?}",
            program.display()
        );
    }

    /// Adds `n` people who are due so long from now; gives when that is.
    async fn add(&self, program: &Path, n: usize, due_in: TimeDelta) -> DateTime<Utc> {
        let now: DateTime<Utc> = self.place.database.store().clock().await.unwrap();
        let first = self.added.fetch_add(n, Ordering::Relaxed);
        let People { csv, .. } = people(first..first + n, now, due_in);
        let file = file("people.csv", csv.as_bytes());
        self.run(program, &["user", "import", file.path()]).await;
        let minute = TimeDelta::minutes(1);
        chrono::DurationRound::duration_trunc(now + due_in, minute).unwrap()
    }

    /// Somebody is due all the time: people are added who are due at once, and a tick sends them.
    async fn feed(&self, stop: &CancellationToken) {
        let mut turn = 0;
        while !stop.is_cancelled() {
            let office = self.office.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let program = &office[turn % office.len()];
            self.add(program, 10, TimeDelta::minutes(-5)).await;
            self.run(program, &["tick"]).await;
            turn += 1;
        }
    }

    fn office(&self, programs: &[&PathBuf]) {
        *self.office.lock().unwrap_or_else(PoisonError::into_inner) =
            programs.iter().map(|program| (*program).clone()).collect();
    }

    /// Goes on until a hundred more have been greeted.
    async fn meanwhile(&self, what: &str) {
        let before = self.place.receiver.tally().accepted;
        // Few at a time: on a busy machine a hundred may take longer than a wait may.
        for more in (10..=100).step_by(10) {
            self.place.receiver.until_accepted(before + more).await;
        }
        println!(
            "{what}: {} more greeted",
            self.place.receiver.tally().accepted - before
        );
    }

    /// A crowd that is due at the next full minute, at which the daemons tick by themselves.
    async fn crowd(&self) {
        let due_at = self.add(&self.new, 100, TimeDelta::minutes(1)).await;
        let due_at = due_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let greeted = || {
            let of_the_crowd = |body: &[u8]| {
                let body: Value = serde_json::from_slice(body).unwrap();
                body["timestamp"] == due_at.as_str()
            };
            let records = self.place.receiver.records();
            records.iter().filter(|record| of_the_crowd(&record.body)).count()
        };
        while greeted() < 100 {
            self.meanwhile("both versions, until the full minute").await;
        }
    }

    /// Forward and back, one process at a time; gives those that were started meanwhile. The last of them runs.
    async fn story(&self, old: &mut Running) -> Vec<Running> {
        self.meanwhile("the old version").await;
        self.run(&self.new, &["migrate"]).await;
        self.meanwhile("the old version, on the new schema").await;
        let mut new = self.serve(&self.new).await;
        self.office(&[&self.old, &self.new]);
        self.meanwhile("both versions").await;
        self.crowd().await;
        stop(old).await;
        self.office(&[&self.new]);
        self.meanwhile("the new version").await;
        let back = self.serve(&self.old).await;
        stop(&mut new).await;
        self.office(&[&self.old]);
        self.meanwhile("the old version again, started on the new schema")
            .await;
        vec![new, back]
    }
}

/// As a supervisor does.
async fn stop(daemon: &mut Running) {
    daemon.terminate();
    assert!(daemon.exit().await.success());
}

/// Lines that tell of something that went wrong.
fn complaints(daemon: &Running) -> Vec<Value> {
    let mut lines = daemon.logs();
    lines.retain(|line| matches!(line["level"].as_str(), Some("ERROR" | "WARN")));
    lines
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a binary of an older version: `make upgrade-test`"]
async fn two_versions_roll_over_one_database_and_one_queue_and_each_greeting_comes_once() {
    let Some(old) = std::env::var_os(FROM).map(PathBuf::from) else {
        return;
    };
    let (database, sqs, receiver) = tokio::join!(Database::empty(), Sqs::start(), Receiver::start());
    let upgrade = Upgrade {
        place: Place {
            database,
            sqs,
            receiver,
        },
        office: Mutex::new(vec![old.clone()]),
        old,
        new: env!("CARGO_BIN_EXE_bday").into(),
        added: AtomicUsize::new(0),
    };
    let place = &upgrade.place;
    // So that requests are in flight whenever something happens.
    place
        .receiver
        .script([Behaviour::slow(Duration::from_millis(300))]);
    upgrade.run(&upgrade.old, &["migrate"]).await;
    let schema = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations");
        count.fetch_one(&place.database.pool().await).await.unwrap()
    };
    let before = schema().await;
    let mut first = upgrade.serve(&upgrade.old).await;

    let stop_feeding = CancellationToken::new();
    let story = async {
        let daemons = upgrade.story(&mut first).await;
        stop_feeding.cancel();
        daemons
    };
    let ((), mut daemons) = tokio::join!(upgrade.feed(&stop_feeding), story);

    let added = upgrade.added.load(Ordering::Relaxed);
    eventually("everybody to be greeted", async || {
        (place.count(Delivered).await >= added as i64).then_some(())
    })
    .await;
    place.until_quiet().await;
    stop(daemons.last_mut().unwrap()).await;
    daemons.push(first);
    println!(
        "{added} greetings; {before} migrations before, {} after",
        schema().await
    );
    place.assert_each_once(added);
    assert_eq!(
        place.receiver.records().len(),
        added,
        "some were tried more than once"
    );
    assert_eq!(
        (place.count(Delivered).await, place.count(Dead).await),
        (added as i64, 0)
    );
    for daemon in &daemons {
        assert_eq!(complaints(daemon), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn an_older_binary_goes_on_reading_attempts_to_which_a_newer_one_has_added_a_column() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    let pool = world.database.pool().await;
    let event: Uuid = sqlx::query_scalar("SELECT id FROM events")
        .fetch_one(&pool)
        .await
        .unwrap();
    for later in ["", "ALTER TABLE attempts ADD COLUMN later text"] {
        pool.execute(later).await.unwrap();
        // Often enough for each connection to have the statements prepared.
        for _ in 0..20 {
            assert_eq!(world.store.attempts(event).await.unwrap().len(), 1, "{later}");
            let facts = world.store.facts(UserRef::Id(user)).await.unwrap();
            assert!(facts.is_some(), "{later}");
        }
    }
}

//! Executes a plan: one task per track, each fault at its time.

use std::time::Duration;

use bday::clock::{Clock, SystemClock};
use bday::store::UserRef;
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::fleet::Daemon;
use super::journal::Cause;
use super::place::{Place, QUEUE};
use super::plan::Queue;
use super::plan::{DatabaseFault, MOST_SKEW_MS, Plan, QueueFault, Tick, Timed, Work};
use super::seed;
use super::support::sqs::Faults;

/// Injects all planned faults and repairs them. The daemons are running when it returns.
pub(crate) async fn run(place: &Place, plan: &Plan, daemons: &mut [Daemon<'_>]) {
    let [first, second, third] = daemons else { return };
    tokio::join!(
        inject(place, first, &plan.daemons[0]),
        inject(place, second, &plan.daemons[1]),
        inject(place, third, &plan.daemons[2]),
        database(place, &plan.database),
        queue(place, &plan.queue),
        place.receivers.inject(&place.journal, &plan.receiver),
        clock(place, &plan.clock),
        work(place, &plan.work),
    );
    turn(place, 0);
    // A pause whose response was lost may have taken effect late.
    pause(place, Duration::ZERO).await;
}

/// Runs a tick every second: first those of the plan, then whole ones until `stop`.
pub(crate) async fn ticks(place: &Place, plan: &Plan, stop: &CancellationToken) {
    let mut planned = plan.ticks.iter().copied();
    let mut beats = tokio::time::interval(Duration::from_secs(1));
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(beats.tick()).await.is_some() {
        let tick = place.bday(&["tick"], "none");
        match planned.next().unwrap_or(Tick::Whole) {
            // A tick may fail; the next one completes its work.
            Tick::Whole => drop(tick.finish().await),
            Tick::KilledAfter(ms) => {
                let mut running = tick.start();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                running.kill();
                running.exit().await;
            }
        }
    }
}

async fn at(place: &Place, at: Duration) {
    tokio::time::sleep(at.saturating_sub(place.journal.in_plan())).await;
}

async fn inject(place: &Place, daemon: &mut Daemon<'_>, faults: &Timed<super::plan::DaemonFault>) {
    for (time, fault) in faults {
        at(place, *time).await;
        daemon.inject(*fault).await;
    }
}

async fn database(place: &Place, faults: &Timed<DatabaseFault>) {
    for (time, fault) in faults {
        at(place, *time).await;
        place.journal.note(format!("database: {fault:?}"));
        place.journal.during(Cause::Database, break_database(place, *fault)).await;
        place.journal.note("database: recovered");
    }
}

async fn break_database(place: &Place, fault: DatabaseFault) {
    let mut server = place.server.lock().await;
    match fault {
        DatabaseFault::Restart => server.restart().await.unwrap(),
        DatabaseFault::Crash(pause) => {
            server.kill_immediate().await.unwrap();
            tokio::time::sleep(pause).await;
            server.restart().await.unwrap();
        }
        DatabaseFault::Freeze(long) => {
            server.freeze().unwrap();
            tokio::time::sleep(long).await;
            server.thaw().unwrap();
        }
        DatabaseFault::Cut(percent) => {
            // Fails if another fault makes the database unavailable.
            let _cut = sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() * 100 < $1",
            )
            .bind(f64::from(percent))
            .execute(&place.pool)
            .await;
        }
    }
}

async fn queue(place: &Place, faults: &Timed<QueueFault>) {
    for (time, fault) in faults {
        at(place, *time).await;
        place.journal.note(format!("queue: {fault:?}"));
        let broken = async {
            match place.queue {
                Queue::Sqs => break_sqs(place, *fault).await,
                // If the database is unavailable, this fault is skipped.
                Queue::Postgres => drop(break_outbox(place, *fault).await),
            }
        };
        place.journal.during(Cause::Queue, broken).await;
    }
}

async fn break_sqs(place: &Place, fault: QueueFault) {
    let (faults, long) = match fault {
        QueueFault::Unavailable(long) => {
            place.sqs.refuse().await;
            tokio::time::sleep(long).await;
            return place.sqs.accept().await;
        }
        QueueFault::Purged => {
            let purge = place.sqs.client().purge_queue().queue_url(place.sqs.queue_url(QUEUE));
            drop(purge.send().await);
            return age_packs(place).await;
        }
        QueueFault::UnknownMessages(n) => {
            for n in 0..n as usize {
                let send = place.sqs.client().send_message().queue_url(place.sqs.queue_url(QUEUE));
                drop(send.message_body(STRANGERS[n % STRANGERS.len()]).send().await);
            }
            return;
        }
        QueueFault::Refusing(long) => (Faults { unavailable: true, ..Faults::default() }, long),
        QueueFault::Slow(delay, long) => (Faults { delay, ..Faults::default() }, long),
        QueueFault::FailingEntries(every, long) => {
            let faults =
                Faults { fail_send_entry_every: every, fail_delete_entry_every: every, ..Faults::default() };
            (faults, long)
        }
        QueueFault::LosingAnswers(every, long) => {
            (Faults { lose_answer_every: every, ..Faults::default() }, long)
        }
        QueueFault::Duplicates(every, long) => (Faults { duplicate_every: every, ..Faults::default() }, long),
        QueueFault::Shuffled(long) => (Faults { shuffle: true, ..Faults::default() }, long),
    };
    place.sqs.faults(|now| *now = faults);
    tokio::time::sleep(long).await;
    place.sqs.faults(|now| *now = Faults::default());
}

/// Moves the send time of sent packs two minutes back, after which the scheduler resends lost packs. Repeated, since a daemon may record
/// the send time of a lost pack only later.
async fn age_packs(place: &Place) {
    let age = "UPDATE outbox SET sent_at = sent_at - interval '121 seconds' WHERE sent_at IS NOT NULL";
    for _ in 0..3 {
        while sqlx::query(age).execute(&place.pool).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(RECORDS_SENT / 2).await;
    }
}

/// The longest time from the send of a pack to its record, on a busy machine.
const RECORDS_SENT: Duration = Duration::from_secs(4);

/// Messages that other software might send to the queue.
const STRANGERS: [&str; 7] = [
    "hello",
    "{}",
    r#"{"v":1}"#,
    r#"{"v":1,"events":["no id"]}"#,
    r#"{"v":2,"events":[]}"#,
    r#"{"v":1,"events":["0197d5a0-0000-7000-8000-000000000000"]}"#,
    r#"{"v":1,"pack":9000000000,"events":["0197d5a0-0000-7000-8000-000000000000"]}"#,
];

/// Injects a fault into the outbox table, which is the queue in PostgreSQL.
async fn break_outbox(place: &Place, fault: QueueFault) -> sqlx::Result<()> {
    let pool = &place.pool;
    match fault {
        QueueFault::UnknownMessages(n) => {
            sqlx::query(
                "INSERT INTO outbox (event_ids, created_at, available_at)
                 SELECT ARRAY[gen_random_uuid()], now(), now() FROM generate_series(1, $1)",
            )
            .bind(n as i32)
            .execute(pool)
            .await?;
        }
        QueueFault::Duplicates(every, long) => {
            let until = place.journal.now() + long;
            while place.journal.now() < until {
                // Half of the duplicates are new rows, half are the same rows made available again.
                sqlx::query(
                    "WITH again AS (
                         UPDATE outbox SET available_at = now() WHERE dead_letter IS NULL AND id % (2 * $1) = 0)
                     INSERT INTO outbox (event_ids, created_at, available_at)
                     SELECT event_ids, now(), now() FROM outbox WHERE dead_letter IS NULL AND id % (2 * $1) = $1",
                )
                .bind(every as i64)
                .execute(pool)
                .await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        QueueFault::Unavailable(long) | QueueFault::Refusing(long) => {
            let mut transaction = pool.begin().await?;
            sqlx::query("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await?;
            tokio::time::sleep(long).await;
            transaction.rollback().await?;
        }
        QueueFault::Purged
        | QueueFault::Slow(..)
        | QueueFault::FailingEntries(..)
        | QueueFault::LosingAnswers(..)
        | QueueFault::Shuffled(..) => {}
    }
    Ok(())
}

async fn clock(place: &Place, jumps: &Timed<i64>) {
    for (number, (time, offset)) in jumps.iter().enumerate() {
        at(place, *time).await;
        place.journal.note(format!("clock: offset {offset} ms"));
        turn(place, *offset);
        if offset.abs() > MOST_SKEW_MS {
            let next = jumps.get(number + 1).map_or(*time + LONGEST_WRONG, |(next, _)| *next);
            let until = next.min(*time + LONGEST_WRONG);
            place.journal.during(Cause::Clock, at(place, until)).await;
            turn(place, 0);
        }
    }
}

/// If its clock is wrong for longer than this, a daemon loses its leases, and its requests in flight may be repeated.
const LONGEST_WRONG: Duration = Duration::from_secs(5);

fn turn(place: &Place, offset: i64) {
    // Renaming is atomic: the daemon never reads a partial file.
    let new = place.offset.with_extension("new");
    std::fs::write(&new, offset.to_string()).unwrap();
    std::fs::rename(&new, &place.offset).unwrap();
}

async fn work(place: &Place, work: &Timed<Work>) {
    for (number, (time, work)) in work.iter().enumerate() {
        at(place, *time).await;
        place.journal.note(format!("{work:?}"));
        match work {
            Work::Import(n, killed_after) => import(place, number, *n, *killed_after).await,
            Work::Plan(n) => {
                // Skipped if the database is unavailable.
                let _written = seed::unplanned(place, *n, number).await;
            }
            Work::Edit(user) => {
                let send_at = (seed::minute_over() - TimeDelta::minutes(1)).format("%H:%M").to_string();
                let arguments = ["user", "update", &format!("u{user}"), "--send-at", &send_at];
                // Fails if the user is deleted or the database is unavailable.
                let _edited = place.bday(&arguments, "none").finish().await;
            }
            Work::Pause(long) => place.journal.during(Cause::Paused, pause(place, *long)).await,
            Work::Contacts(without, with) => {
                // Fails if the database is unavailable, or a user is deleted meanwhile.
                let _moved = seed::move_contacts(place, *without, *with).await;
            }
            Work::Redrive => drop(place.bday(&["dlq", "redrive"], "none").finish().await),
            Work::Delete(n) => {
                for n in 0..*n {
                    let external_id = format!("u{}", 7 + 40 * number as u32 + n);
                    let user = UserRef::External(&external_id);
                    let _deleted = place.store.delete_user(SystemClock.now(), user, None, None).await;
                }
            }
        }
    }
}

/// Imports the same file until the import succeeds.
async fn import(place: &Place, number: usize, n: u32, killed_after: Option<u64>) {
    let path = place.directory.join(format!("import-{number}.csv"));
    std::fs::write(&path, seed::file(n, number)).unwrap();
    let path = path.to_str().unwrap();
    let import = || place.bday(&["user", "import", path], "none");
    if let Some(ms) = killed_after {
        let mut running = import().start();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        running.kill();
        running.exit().await;
    }
    while !import().finish().await.status.success() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn pause(place: &Place, long: Duration) {
    if place.store.set_pause(SystemClock.now(), "the fault suite").await.is_ok() {
        tokio::time::sleep(long).await;
    }
    while place.store.end_pause().await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

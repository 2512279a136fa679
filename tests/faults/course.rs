//! Carries a plan out: a task a track, each fault at its time.

use std::time::Duration;

use bday::clock::{Clock, SystemClock};
use bday::store::UserRef;
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use super::fleet::Daemon;
use super::journal::Cause;
use super::options::Queue;
use super::place::{Place, QUEUE};
use super::plan::{DatabaseFault, Plan, QueueFault, ReceiverFault, Tick, Timed};
use super::support::receiver::Behaviour;
use super::support::sqs::Faults;

/// Breaks everything as planned, and puts it right again; the daemons run on.
pub(crate) async fn run(place: &Place, plan: &Plan, daemons: &mut [Daemon<'_>]) {
    let [first, second, third] = daemons else { return };
    tokio::join!(
        suffer(place, first, &plan.daemons[0]),
        suffer(place, second, &plan.daemons[1]),
        suffer(place, third, &plan.daemons[2]),
        database(place, &plan.database),
        queue(place, &plan.queue),
        receiver(place, &plan.receiver),
        clock(place, &plan.clock),
        deletions(place, &plan.deletions),
    );
    std::fs::write(&place.offset, "0").unwrap();
}

/// A tick a second; `stop` ends it, after all of the plan's.
pub(crate) async fn ticks(place: &Place, plan: &Plan, stop: &CancellationToken) {
    let mut planned = plan.ticks.iter().copied();
    let mut beats = tokio::time::interval(Duration::from_secs(1));
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(beats.tick()).await.is_some() {
        let tick = place.bday(&["tick"], "/none");
        match planned.next().unwrap_or(Tick::Whole) {
            // It may fail: the next one does what it left.
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

async fn suffer(place: &Place, daemon: &mut Daemon<'_>, faults: &Timed<super::plan::DaemonFault>) {
    for (time, fault) in faults {
        at(place, *time).await;
        daemon.suffer(*fault).await;
    }
}

async fn database(place: &Place, faults: &Timed<DatabaseFault>) {
    for (time, fault) in faults {
        at(place, *time).await;
        place.journal.note(format!("database: {fault:?}"));
        place
            .journal
            .during(Cause::Database, break_database(place, *fault))
            .await;
        place.journal.note("database: well again");
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
            // Another fault may be in the way of this one.
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
        match place.queue {
            Queue::Sqs => break_sqs(place, *fault).await,
            // What the database refuses just now is a fault that did not happen.
            Queue::Postgres => drop(break_pgmq(place, *fault).await),
        }
    }
}

async fn break_sqs(place: &Place, fault: QueueFault) {
    let (faults, long) = match fault {
        QueueFault::Away(long) => {
            place.sqs.refuse().await;
            tokio::time::sleep(long).await;
            return place.sqs.accept().await;
        }
        QueueFault::Purged => {
            let purge = place
                .sqs
                .client()
                .purge_queue()
                .queue_url(place.sqs.queue_url(QUEUE));
            return drop(purge.send().await);
        }
        QueueFault::Strangers(n) => {
            for n in 0..n as usize {
                let send = place
                    .sqs
                    .client()
                    .send_message()
                    .queue_url(place.sqs.queue_url(QUEUE));
                drop(send.message_body(STRANGERS[n % STRANGERS.len()]).send().await);
            }
            return;
        }
        QueueFault::Refusing(long) => (
            Faults {
                unavailable: true,
                ..Faults::default()
            },
            long,
        ),
        QueueFault::Slow(delay, long) => (
            Faults {
                delay,
                ..Faults::default()
            },
            long,
        ),
        QueueFault::FailingEntries(every, long) => {
            let faults = Faults {
                fail_send_entry_every: every,
                fail_delete_entry_every: every,
                ..Faults::default()
            };
            (faults, long)
        }
        QueueFault::LosingAnswers(every, long) => (
            Faults {
                lose_answer_every: every,
                ..Faults::default()
            },
            long,
        ),
        QueueFault::Duplicates(every, long) => (
            Faults {
                duplicate_every: every,
                ..Faults::default()
            },
            long,
        ),
        QueueFault::Shuffled(long) => (
            Faults {
                shuffle: true,
                ..Faults::default()
            },
            long,
        ),
    };
    place.sqs.faults(|now| *now = faults);
    tokio::time::sleep(long).await;
    place.sqs.faults(|now| *now = Faults::default());
}

/// What others might put on the queue; each is a JSON text, since pgmq takes nothing else.
const STRANGERS: [&str; 6] = [
    r#""hello""#,
    "{}",
    r#"{"v":1}"#,
    r#"{"v":1,"event":"no id"}"#,
    r#"{"v":2,"events":[]}"#,
    r#"{"v":1,"event":"0197d5a0-0000-7000-8000-000000000000"}"#,
];

async fn break_pgmq(place: &Place, fault: QueueFault) -> sqlx::Result<()> {
    let pool = &place.pool;
    match fault {
        QueueFault::Purged => {
            let purge = AssertSqlSafe(format!("DELETE FROM pgmq.q_{QUEUE}"));
            sqlx::query(purge).execute(pool).await?;
        }
        QueueFault::Strangers(n) => {
            for n in 0..n as usize {
                sqlx::query("SELECT pgmq.send($1, $2::jsonb)")
                    .bind(QUEUE)
                    .bind(STRANGERS[n % STRANGERS.len()])
                    .execute(pool)
                    .await?;
            }
        }
        QueueFault::Duplicates(every, long) => {
            // Half of them are new messages, half the same ones handed out again.
            let statement = format!(
                "WITH again AS (UPDATE pgmq.q_{QUEUE} SET vt = clock_timestamp() WHERE msg_id % (2 * $2) = 0)
                 SELECT pgmq.send($1, message) FROM pgmq.q_{QUEUE} WHERE msg_id % (2 * $2) = $2"
            );
            let until = place.journal.now() + long;
            while place.journal.now() < until {
                sqlx::query(AssertSqlSafe(statement.clone()))
                    .bind(QUEUE)
                    .bind(every as i64)
                    .execute(pool)
                    .await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        QueueFault::Away(long) | QueueFault::Refusing(long) => {
            let mut transaction = pool.begin().await?;
            let lock = format!("LOCK TABLE pgmq.q_{QUEUE} IN ACCESS EXCLUSIVE MODE");
            sqlx::query(AssertSqlSafe(lock))
                .execute(&mut *transaction)
                .await?;
            tokio::time::sleep(long).await;
            transaction.rollback().await?;
        }
        QueueFault::Slow(..)
        | QueueFault::FailingEntries(..)
        | QueueFault::LosingAnswers(..)
        | QueueFault::Shuffled(..) => {}
    }
    Ok(())
}

async fn receiver(place: &Place, faults: &Timed<(ReceiverFault, Duration)>) {
    let receiver = &place.receiver;
    for (time, (fault, long)) in faults {
        at(place, *time).await;
        place.journal.note(format!("receiver: {fault:?}"));
        let spell = tokio::time::sleep(*long);
        match fault {
            ReceiverFault::Away => {
                // What is being answered at this moment is cut off, too.
                place
                    .journal
                    .during(Cause::Answers, async {
                        receiver.refuse().await;
                        spell.await;
                    })
                    .await;
                receiver.accept().await;
            }
            ReceiverFault::Swallowing | ReceiverFault::BreakingOff => {
                let bytes = Duration::from_millis(100);
                receiver.script([if matches!(fault, ReceiverFault::Swallowing) {
                    Behaviour::SlowBytes(bytes)
                } else {
                    Behaviour::ResetAfterHead
                }]);
                place.journal.during(Cause::Answers, spell).await;
                receiver.script([]);
            }
            fault => {
                receiver.script([behaviour(*fault)]);
                spell.await;
                receiver.script([]);
            }
        }
    }
}

fn behaviour(fault: ReceiverFault) -> Behaviour {
    match fault {
        ReceiverFault::Status(302) => {
            Behaviour::Answer(302, "location: /elsewhere\r\n".to_owned(), Vec::new())
        }
        ReceiverFault::Status(status) => Behaviour::Status(status),
        ReceiverFault::Throttling => Behaviour::Answer(429, "retry-after: 1\r\n".to_owned(), Vec::new()),
        ReceiverFault::Resetting => Behaviour::Reset,
        ReceiverFault::Endless => Behaviour::EndlessBody,
        ReceiverFault::Babbling => Behaviour::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ReceiverFault::Slow(ms) => Behaviour::slow(Duration::from_millis(ms)),
        ReceiverFault::Hanging
        | ReceiverFault::Swallowing
        | ReceiverFault::BreakingOff
        | ReceiverFault::Away => Behaviour::Hang,
    }
}

async fn clock(place: &Place, jumps: &Timed<i64>) {
    for (time, offset) in jumps {
        at(place, *time).await;
        place.journal.note(format!("clock: {offset} ms off"));
        // Renamed into place: a reader must never see half of it.
        let new = place.offset.with_extension("new");
        std::fs::write(&new, offset.to_string()).unwrap();
        std::fs::rename(&new, &place.offset).unwrap();
    }
}

async fn deletions(place: &Place, deletions: &Timed<u32>) {
    for (number, (time, n)) in deletions.iter().enumerate() {
        at(place, *time).await;
        for n in 0..*n {
            let external_id = format!("u{}", 7 + 40 * number as u32 + n);
            let user = UserRef::External(&external_id);
            // With the database away it does not happen.
            let _deleted = place.store.delete_user(SystemClock.now(), user, None).await;
        }
    }
}

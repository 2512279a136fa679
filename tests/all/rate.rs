//! `worker.max_per_second`, under a clock that stands still until the test lets it go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bday::clock::{Clock, SettableClock, SharedClock, Stopwatch};
use bday::health::Beat;
use bday::pipeline::queue::Queue as _;
use bday::store::UserKey;
use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::wait::eventually;
use crate::support::world::{World, person};

/// The date of a world, and elapsed time as it is told.
#[derive(Debug)]
struct Stopped {
    date: Arc<SettableClock>,
    watch: Stopwatch,
}

impl Clock for Stopped {
    fn now(&self) -> DateTime<Utc> {
        self.date.now()
    }

    fn monotonic(&self) -> Instant {
        self.watch.monotonic()
    }
}

/// As after an outage of the database: fifty messages were received, and could not be leased.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_held_up_goes_out_no_faster_than_the_cap() {
    const DUE: usize = 50;
    let world = World::with("2026-05-02T00:00:00Z", &[("worker.max_per_second", "100")]).await;
    let people: Vec<_> = (0..DUE)
        .map(|n| (UserKey::External, person(&format!("u{n}"), "1990-05-02", "UTC")))
        .collect();
    let (schedule, now) = (world.config.schedule(), world.clock.now());
    world.store.write_users(&schedule, now, &people).await.unwrap();
    world.tick().await;
    world.set("2026-05-02T09:00:00Z");
    assert_eq!(world.tick().await.enqueued, DUE as u64);

    let database = world.database.pool().await;
    let mut away = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *away)
        .await
        .unwrap();
    let clock = Arc::new(Stopped {
        date: Arc::clone(&world.clock),
        watch: Stopwatch::default(),
    });
    let shared = Arc::clone(&clock) as SharedClock;
    let pool = world.pool_on(Arc::clone(&shared), Beat::new(shared));
    let (soft, mut running) = (CancellationToken::new(), JoinSet::new());
    let until = soft.clone();
    running.spawn(async move { pool.run(until, CancellationToken::new()).await });
    eventually("all to be held, and the lease to wait", async || {
        let held = world.queue.depth().await.unwrap().in_flight == DUE as u64;
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE NOT l.granted AND d.datname = current_database()",
        )
        .fetch_one(&database)
        .await
        .unwrap();
        (held && waiting > 0).then_some(())
    })
    .await;
    clock.watch.pass(Duration::from_secs(5));
    away.commit().await.unwrap();

    // The two lanes may each have held a tenth of a second's worth; from there on it is the cap.
    for tenth in 0.. {
        let least = (9 + 10 * tenth).min(DUE);
        world.receiver.until_received(least as u64).await;
        let came = world.receiver.records().len();
        assert!(came <= (10 + 10 * tenth).max(20), "{came} after {tenth} tenths");
        if least == DUE {
            break;
        }
        clock.watch.pass(Duration::from_millis(100));
    }
    world.receiver.until_accepted(DUE as u64).await;
    assert_eq!(world.greetings(), DUE);
    soft.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}

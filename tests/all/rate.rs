//! `worker.max_per_second`, with a clock that the test controls.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::heartbeat::Heartbeat;
use bday::clock::{Clock as _, SharedClock, Stopwatch, SystemClock};
use bday::store::UserKey;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::world::{World, person};

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_do_not_exceed_max_per_second() {
    const DUE: usize = 50;
    let world = World::with(&SystemClock.now().to_rfc3339(), &[("worker.max_per_second", "100")]).await;
    let now = world.clock.now();
    let born = now.date_naive().format("--%m-%d").to_string();
    world.tick().await;
    let people: Vec<_> = (0..DUE)
        .map(|n| {
            (
                UserKey::ExternalId,
                bday::model::NewUser {
                    send_at: Some("00:00".parse().unwrap()),
                    ..person(&format!("u{n}"), &born, "UTC")
                },
            )
        })
        .collect();
    let schedule = world.config.schedule();
    world.store.save_users(&schedule, now, &people).await.unwrap();
    assert_eq!(world.tick().await.enqueued, DUE as u64);
    let watch = Arc::new(Stopwatch::default());
    let clock = Arc::clone(&watch) as SharedClock;
    let pool = world.pool_on(Arc::clone(&clock), Heartbeat::new(clock));
    let (soft, mut running) = (CancellationToken::new(), JoinSet::new());
    let until = soft.clone();
    running.spawn(async move { pool.run(until, CancellationToken::new()).await });
    // The limit allows an initial burst of a tenth of a second.
    for tenth in 0.. {
        let least = (9 + 10 * tenth).min(DUE);
        world.receiver.until_received(least as u64).await;
        let received = world.receiver.records().len();
        assert!(received <= 10 + 10 * tenth, "{received} after {tenth} tenths of a second");
        if least == DUE {
            break;
        }
        watch.pass(Duration::from_millis(100));
    }
    world.receiver.until_accepted(DUE as u64).await;
    assert_eq!(world.greetings(), DUE);
    soft.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}

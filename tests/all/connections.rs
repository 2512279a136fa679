//! Cancelled, silent and exhausted database connections do not affect later statements.

use std::task::Poll;
use std::time::Duration;

use bday::store::{
    ClaimCursor, ClaimRequest, PlanningBasis, Store, StoreOptions, UserFilter, UserKey, UserRef,
};
use sqlx::Connection as _;
use uuid::Uuid;

use crate::support::relay::Relay;
use crate::support::wait::{eventually, within};
use crate::support::world::{World, instant, person};

const NINE: &str = "2026-05-02T09:00:00Z";

/// sqlx 0.9.0 returns a connection whose `BEGIN` was cancelled to its pool, inside the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_cancelled_at_any_point_leaves_no_transaction() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let store = small_store(&world);
    cancel_repeatedly(&world, &store, async || {
        let (mut cursor, kinds) = (ClaimCursor::default(), ["birthday".to_owned()]);
        let request = ClaimRequest {
            now: instant(NINE),
            kinds: &kinds,
            late_before: instant("2026-05-01T00:00:00Z"),
            limit: 10,
            pack_limit: 1,
            available_at: instant(NINE),
            span: None,
        };
        drop(store.claim(request, &mut cursor).await);
    })
    .await;
}

/// Such as when a client disconnects during an explanation or a forecast.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_cancelled_at_any_point_leaves_no_transaction() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    let store = small_store(&world);
    cancel_repeatedly(&world, &store, async || {
        drop(store.user_history(UserRef::Id(user)).await);
    })
    .await;
    cancel_repeatedly(&world, &store, async || {
        drop(store.occasion_groups(2026, None, None, |_, _, _| {}).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recomputation_cancelled_at_any_point_leaves_no_transaction() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let (store, schedule) = (small_store(&world), world.config.schedule());
    cancel_repeatedly(&world, &store, async || {
        let basis = PlanningBasis { zone_data: "2026z".to_owned(), rules: schedule.rules() };
        drop(store.recompute_page(&schedule, instant(NINE), &basis, 10).await);
    })
    .await;
}

/// sqlx 0.9.0 does not roll back after a failed statement with `BEGIN`.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_times_out_leaves_its_connection_usable() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let store = small_store(&world);
    let mut other = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    // Such as a planner that is suspended in a transaction.
    sqlx::query("SELECT pg_advisory_lock(x'62646179'::int, b) FROM generate_series(0, 31) AS b")
        .execute(&mut other)
        .await
        .unwrap();
    let people = [(UserKey::ExternalId, person("u", "1990-05-02", "UTC"))];
    let schedule = world.config.schedule();
    let write = store.save_users(&schedule, instant(NINE), &people);
    // Has the same effect as an expired `lock_timeout`, but sooner.
    let cancel = eventually("the writer to wait", async || {
        let cancelled: Option<bool> = sqlx::query_scalar(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'",
        )
        .fetch_optional(&mut other)
        .await
        .unwrap();
        cancelled
    });
    let (written, _) = tokio::join!(write, cancel);
    written.unwrap_err();
    store.clock().await.unwrap();
}

/// Otherwise the first tick after an idle hour would wait for eight logins.
#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_are_opened_in_advance() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let mut watcher = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    let mut connections = async || {
        sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap()
    };
    let mut stores = Vec::new();
    for (most, kept, opened) in [(6, 4, 4), (3, 4, 3)] {
        let options = StoreOptions {
            max_connections: most,
            // Exceeds the timeout of `within`: no statement may wait for a connection over the maximum.
            acquire_timeout: Duration::from_mins(5),
            kept_connections: kept,
            statement_timeout: Duration::from_secs(30),
        };
        let before = connections().await;
        let store = Store::new(world.database.url(), &options).unwrap();
        within("the connections", store.open_connections()).await;
        assert_eq!(connections().await - before, opened);
        stores.push(store);
    }
}

/// Such as fifty API requests that wait for a lock.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_requests_do_not_use_the_reserved_connections() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let options = StoreOptions {
        max_connections: 8,
        acquire_timeout: Duration::from_secs(20),
        kept_connections: 0,
        statement_timeout: Duration::from_secs(30),
    };
    let store = Store::new(world.database.url(), &options).unwrap();
    let (asked, everybody) = (store.reserving(5), UserFilter::default());
    let mut other = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let list = || asked.list_users(&everybody, Uuid::nil(), 10);
    let mut requests: Vec<_> = (0..50).map(|_| Box::pin(list())).collect();
    let mut watcher = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    let hang = eventually("three to hang", async || {
        for request in &mut requests {
            assert!(futures_util::poll!(request).is_pending());
        }
        let hanging: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap();
        assert!(hanging <= 3);
        (hanging == 3).then_some(())
    });
    hang.await;
    // Five connections are reserved for the stages, regardless of the number of waiting requests.
    let stages = (0..5).map(|_| store.clock());
    for answer in within("the stages", futures_util::future::join_all(stages)).await {
        answer.unwrap();
    }
    // A cancelled request releases its permit or its place in the queue.
    drop(requests.split_off(40));
    drop(requests.drain(..10));
    lock.rollback().await.unwrap();
    for page in within("the others", futures_util::future::join_all(requests)).await {
        assert_eq!(page.unwrap().users, []);
    }
    list().await.unwrap();
}

/// Such as after a failover: TCP itself would time out only after a quarter of an hour.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_replaced() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let mut url: reqwest::Url = world.database.url().parse().unwrap();
    let relay = Relay::to(&url).await;
    url.set_port(Some(relay.address().port())).unwrap();
    let options = StoreOptions {
        max_connections: 2,
        acquire_timeout: Duration::from_secs(2),
        kept_connections: 0,
        statement_timeout: Duration::from_secs(1),
    };
    let store = Store::new(url.as_str(), &options).unwrap();
    let mut other = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("LOCK TABLE planned_days IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let mut watcher = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    let day = instant(NINE).date_naive();
    let silent = eventually("both connections to be in use", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'relation'",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap();
        (waiting == 2).then(|| relay.fall_silent())
    });
    let (one, two, ()) = tokio::join!(store.open_day("r", day), store.open_day("r", day), silent);
    assert!(one.is_err() && two.is_err());
    eventually("the database to be reached again", async || store.clock().await.ok()).await;
}

/// Returns a store with a single connection.
fn small_store(world: &World) -> Store {
    let options = StoreOptions {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(10),
        kept_connections: 0,
        statement_timeout: Duration::from_secs(30),
    };
    Store::new(world.database.url(), &options).unwrap()
}

/// Calls `work` repeatedly, cancels it after one to five polls, and checks that the connection of `store` is in no transaction.
async fn cancel_repeatedly(world: &World, store: &Store, work: impl AsyncFn()) {
    let mut other = sqlx::PgConnection::connect(world.database.url()).await.unwrap();
    // Opens the connection.
    store.clock().await.unwrap();
    for steps in (1..6).cycle().take(400) {
        let (mut work, mut left) = (Box::pin(work()), steps);
        std::future::poll_fn(|context| {
            left -= 1;
            let polled = work.as_mut().poll(context);
            if left == 0 { Poll::Ready(()) } else { polled }
        })
        .await;
        drop(work);
        eventually("the connection to be idle", async || {
            // A statement also flushes the buffered messages, such as a `ROLLBACK`.
            store.clock().await.unwrap();
            let idle: bool = sqlx::query_scalar(
                "SELECT bool_and(state = 'idle') FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .fetch_one(&mut other)
            .await
            .unwrap();
            idle.then_some(())
        })
        .await;
    }
}

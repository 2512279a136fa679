//! Messages that nobody worked on, at their last receive: no dead letters.

use std::time::Duration;

use bday::model::EventState::{Delivered, Queued};
use bday::pipeline::queue::{Depth, Received, decode};
use bday::store::{ClaimCursor, Options, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{NINE, Place};
use crate::support::receiver::Behaviour;
use crate::support::wait::eventually;
use crate::support::world::{World, instant};

super::on_both_queues!(
    a_message_that_a_stop_gives_back_at_its_last_receive_comes_again_and_is_no_dead_letter,
    a_message_that_a_stop_gives_back_before_its_last_receive_keeps_its_count,
    a_request_that_a_stop_breaks_off_at_its_last_receive_goes_again_and_is_no_dead_letter,
);

/// The one message there is was received and given back so often.
async fn given_back(world: &World, times: u32) {
    for _ in 0..times {
        let receipt = only(world).await.receipt;
        world.carrier.hide(&[(receipt, Duration::ZERO)]).await.unwrap();
    }
}

async fn only(world: &World) -> Received {
    let mut messages = world.carrier.receive(10, Duration::ZERO).await.unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

/// Runs a pool until the queue is as wished for, and stops it.
async fn work_until(world: &World, what: &str, wish: impl Fn(Depth) -> bool) {
    let (pool, soft, mut running) = (world.pool(), CancellationToken::new(), JoinSet::new());
    let until = soft.clone();
    running.spawn(async move { pool.run(until, CancellationToken::new()).await });
    eventually(what, async || {
        wish(world.carrier.depth().await.unwrap()).then_some(())
    })
    .await;
    soft.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}

/// A message of which a worker was told to stop before it could lease it. Gives what is on the queue then.
async fn stopped_with(world: &mut World, receives: u32) -> (Uuid, Received) {
    let event = Uuid::now_v7();
    world.carrier.send(&[event]).await.unwrap();
    given_back(world, receives - 1).await;
    // Nobody is there, so nothing can be leased.
    let options = Options {
        max_connections: 4,
        acquire_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(1),
    };
    let store = Store::new("postgres://bday@127.0.0.1:1/bday", &options).unwrap();
    let store = std::mem::replace(&mut world.store, store);
    work_until(world, "it to be received", |depth| depth.in_flight == 1).await;
    world.store = store;
    (event, only(world).await)
}

async fn a_message_that_a_stop_gives_back_at_its_last_receive_comes_again_and_is_no_dead_letter(
    mut place: Place,
) {
    let (event, message) = stopped_with(&mut place.world, 5).await;
    assert_eq!((decode(&message.body), message.receive_count), (Ok(event), 1));
    let depth = place.world.carrier.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 1, 0));
}

async fn a_message_that_a_stop_gives_back_before_its_last_receive_keeps_its_count(mut place: Place) {
    let (event, message) = stopped_with(&mut place.world, 4).await;
    assert_eq!((decode(&message.body), message.receive_count), (Ok(event), 5));
    let depth = place.world.carrier.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 1, 0));
}

async fn a_request_that_a_stop_breaks_off_at_its_last_receive_goes_again_and_is_no_dead_letter(place: Place) {
    let world = place.world;
    world.write("u", "1990-05-02", "UTC").await;
    world.set(NINE);
    world.tick().await;
    given_back(&world, 4).await;
    world.receiver.script([Behaviour::slow(Duration::from_mins(1))]);
    let (pool, soft, hard) = (world.pool(), CancellationToken::new(), CancellationToken::new());
    let (until, at_once) = (soft.clone(), hard.clone());
    let mut running = JoinSet::new();
    running.spawn(async move { pool.run(until, at_once).await });
    world.receiver.until_received(1).await;
    soft.cancel();
    hard.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    // Whoever waits at the receiver was not told whether it accepted.
    assert_eq!(world.count(Queued).await, 1);
    let depth = world.carrier.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (1, 0, 0));
    world.receiver.script([]);
    world.pool().run_once().await.unwrap();
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
    let depth = world.carrier.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 0, 0));
}

/// As with a claim whose call to the queue hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_claim_stays_open_at_its_last_receive_is_no_dead_letter() {
    let shortest = [
        ("webhook.timeout_secs", "1"),
        ("webhook.connect_timeout_secs", "1"),
        ("queue.visibility_secs", "6"),
    ];
    let world = World::with("2026-05-02T00:00:00Z", &shortest).await;
    world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    world.set(NINE);
    let mut cursor = ClaimCursor::default();
    let claim = world.store.claim(instant(NINE), 10, &mut cursor).await.unwrap();
    world.carrier.send(&claim.event_ids).await.unwrap();
    given_back(&world, 4).await;
    world.pool().run_once().await.unwrap();
    drop(claim);
    world.set("2026-05-02T09:01:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.queue.buried()), (1, Vec::new()));
}

/// A pause that comes while messages are on their way to a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_meets_a_pause_at_its_last_receive_is_no_dead_letter() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.set(NINE);
    world.tick().await;
    given_back(&world, 4).await;
    // A poll of this pool may ask before it has seen the pause, and the lease then refuses.
    world.store.set_pause(instant(NINE), "").await.unwrap();
    work_until(&world, "it to be left alone", |depth| depth.visible == 1).await;
    world.store.end_pause().await.unwrap();
    world.pool().run_once().await.unwrap();
    assert_eq!((world.greetings(), world.queue.buried()), (1, Vec::new()));
}

//! A dead-letter queue that hangs: whatever has nothing to do with it goes on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bday::model::EventState::{Dead, Delivered};
use bday::pipeline::queue::{DeadLetter, Depth, MemoryQueue, Queue, Receipt, Received, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::NINE;
use crate::support::receiver::Behaviour;
use crate::support::wait::eventually;
use crate::support::world::{World, person};

/// A queue in memory; nothing gets into its dead-letter queue until it is let in.
#[derive(Debug)]
struct Hangs {
    queue: Arc<MemoryQueue>,
    letting_in: watch::Sender<bool>,
}

#[async_trait]
impl Queue for Hangs {
    async fn create(&self) -> Result<()> {
        self.queue.create().await
    }

    async fn send(&self, event_ids: &[Uuid]) -> Result<Vec<Uuid>> {
        self.queue.send(event_ids).await
    }

    fn receive_limit(&self) -> usize {
        self.queue.receive_limit()
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>> {
        self.queue.receive(max, wait).await
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<()> {
        self.queue.ack(receipts).await
    }

    async fn hide(&self, receipts: &[(Receipt, Duration)]) -> Result<()> {
        self.queue.hide(receipts).await
    }

    async fn dead_letter(&self, message: &Received, reason: &str) -> Result<()> {
        let mut letting_in = self.letting_in.subscribe();
        letting_in.wait_for(|letting_in| *letting_in).await.unwrap();
        self.queue.dead_letter(message, reason).await
    }

    async fn dead_letters(&self, max: usize, hidden: Duration) -> Result<Vec<DeadLetter>> {
        self.queue.dead_letters(max, hidden).await
    }

    async fn delete_dead_letters(&self, receipts: &[Receipt]) -> Result<u64> {
        self.queue.delete_dead_letters(receipts).await
    }

    async fn release_dead_letters(&self, receipts: &[Receipt]) -> Result<()> {
        self.queue.release_dead_letters(receipts).await
    }

    async fn depth(&self) -> Result<Depth> {
        self.queue.depth().await
    }
}

/// `n` people are due, after some texts that are none of ours, and a pool works until `held` messages are left, which is all that
/// the dead-letter queue holds up. Then it lets them in.
async fn work(world: &mut World, texts: usize, n: usize, held: u64) {
    let hangs = Arc::new(Hangs {
        queue: Arc::clone(&world.queue),
        letting_in: watch::Sender::new(false),
    });
    world.carrier = Arc::clone(&hangs) as Arc<dyn Queue>;
    for n in 0..n {
        world
            .write_user(person(&format!("u{n}"), "1990-05-02", "UTC"))
            .await;
    }
    for _ in 0..texts {
        world.queue.put("none of ours".to_owned());
    }
    world.set(NINE);
    world.tick().await;
    let (pool, soft, mut running) = (world.pool(), CancellationToken::new(), JoinSet::new());
    let until = soft.clone();
    running.spawn(async move { pool.run(until, CancellationToken::new()).await });
    eventually("all others to be done with", async || {
        let depth = world.queue.depth().await.unwrap();
        ((depth.visible, depth.in_flight) == (0, held)).then_some(())
    })
    .await;
    assert_eq!(world.queue.buried().len(), 0);
    hangs.letting_in.send_replace(true);
    soft.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(world.queue.buried().len() as u64, held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_queue_that_hangs_holds_up_no_greeting_behind_what_cannot_be_read() {
    let mut world = World::at("2026-05-02T00:00:00Z").await;
    work(&mut world, 20, 5, 20).await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_queue_that_hangs_holds_up_no_ack() {
    let mut world = World::at("2026-05-02T00:00:00Z").await;
    world
        .receiver
        .next([Behaviour::Status(410), Behaviour::Status(410)]);
    work(&mut world, 0, 30, 2).await;
    assert_eq!((world.greetings(), world.count(Dead).await), (28, 2));
}

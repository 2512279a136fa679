//! Dead letters are listed, redriven and purged, on both kinds of queue.

mod cancel;
mod commands;
mod many;
mod purge;
mod redrive;

use std::sync::Arc;
use std::time::Duration;

use bday::model::EventState::Dead;
use bday::operations::dead_letters::{RedriveOptions, RedriveReport};
use bday::pipeline::queue::sqs::{SqsOptions, SqsQueue};
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::sqs::Sqs;
use crate::support::world::World;

const NINE: &str = "2026-05-02T09:00:00Z";
const VISIBILITY: Duration = Duration::from_secs(30);

/// A world, and the SQS endpoint if its queue is on SQS.
struct Place {
    world: World,
    sqs: Option<Sqs>,
}

/// Retries without delay; events over two hours late are skipped.
const SETTINGS: [(&str, &str); 2] = [("retry.schedule_secs", "0,0,0,0"), ("late.max_secs", "7200")];

async fn on_sqs() -> Place {
    let (mut world, sqs) = tokio::join!(World::with("2026-05-02T00:00:00Z", &SETTINGS), Sqs::start());
    let options = SqsOptions {
        url: sqs.queue_url("greetings"),
        dead_letter_url: String::new(),
        visibility: VISIBILITY,
    };
    world.queue = Arc::new(SqsQueue::new(sqs.client(), options));
    world.queue.create().await.unwrap();
    // After the first tick, users are planned when they are written.
    world.tick().await;
    Place { world, sqs: Some(sqs) }
}

async fn on_postgres() -> Place {
    let world = World::with("2026-05-02T00:00:00Z", &SETTINGS).await;
    world.tick().await;
    Place { world, sqs: None }
}

/// Runs each test on both kinds of queue.
macro_rules! on_both_queues {
    ($($test:ident),* $(,)?) => {
        mod sqs {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::super::on_sqs().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::super::on_postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both_queues;

impl Place {
    /// Adds a user with a birthday today in UTC, and fails the deliveries until the event is dead.
    async fn dead(&self, name: &str) -> Uuid {
        let world = &self.world;
        let user = world.write(name, "1990-05-02", "UTC").await;
        let event: Uuid = sqlx::query_scalar("SELECT id FROM events WHERE user_id = $1")
            .bind(user)
            .fetch_one(&world.database.pool().await)
            .await
            .unwrap();
        let refusal = Behaviour::Answer(503, String::new(), b"too\nbusy".to_vec());
        world.receiver.script_for(&event.to_string(), [refusal]);
        world.set(NINE);
        world.tick().await;
        self.work().await;
        let found = world.store.event(event).await.unwrap().unwrap();
        assert_eq!(found.state, Dead);
        event
    }

    /// Makes the receiver accept further requests for `event`.
    fn accept(&self, event: Uuid) {
        self.world.receiver.script_for(&event.to_string(), [Behaviour::Status(200)]);
    }

    /// Runs passes until all attempts are made and dead events have their messages.
    async fn work(&self) {
        for _ in 0..7 {
            self.world.minute().await;
        }
    }

    async fn messages(&self) -> u64 {
        self.world.dead_messages().await
    }

    /// Redrives all dead events, which must succeed.
    async fn redrive(&self) -> RedriveReport {
        self.redrive_as(RedriveOptions::default()).await
    }

    async fn redrive_as(&self, options: RedriveOptions) -> RedriveReport {
        let (report, result) = self.world.dead_letters().redrive(&options, |_| {}).await;
        result.unwrap();
        report
    }
}

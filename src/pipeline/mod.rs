//! The flow of an event, one direction, a stage a file or folder:
//!
//! ```text
//!            every minute, at second 0; retries every few seconds
//! clock ──> plan ──> claim ──> send ──> receive ──> lease ──> deliver ──> record
//!           users    due       outbox   packs of    queued    Channel     delivered,
//!           near     pending   to       event ids   to                    pending again with a next attempt,
//!           their    to queued Queue    (Queue)     delivering            or dead
//!           day      + outbox                       then ack
//! ```
//!
//! PostgreSQL owns an event's life: its state, its attempts, its next attempt, its death. The queue only carries packs of event ids.
//! The [`scheduler`] has the stages before the queue and the sweep, the [`worker`] those after it.

pub mod channel;
mod claim;
pub mod clock_offset;
mod passes;
mod plan;
pub mod queue;
pub mod scheduler;
mod send;
mod sweep;
pub mod worker;
pub mod zone_data;

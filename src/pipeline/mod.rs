//! The flow of an event. It has one direction, and each stage is a file or folder:
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
//! | stage | file |
//! | --- | --- |
//! | plan, claim, send | `plan.rs`, `claim.rs`, `send.rs`; the [`scheduler`] runs them, every 2 s and at second 0 (`tick.rs`) |
//! | queue | [`queue`]: SQS or PostgreSQL |
//! | receive, lease, deliver, record | [`worker`], a file each |
//! | channel | [`channel`]: webhook, mail, SMS, Slack, `WhatsApp` |
//! | feedback | [`feedback`]: what providers report after they have accepted a greeting |
//! | sweep | `sweep.rs`: expired leases, lost packs, old rows; the scheduler runs it |
//! | traces | [`trace`]: spans of the stages |
//!
//! PostgreSQL owns an event's life: its state, its attempts, its next attempt, its death. The queue only carries packs of event ids.

pub mod channel;
mod claim;
pub mod clock_offset;
pub mod feedback;
mod plan;
pub mod queue;
pub mod scheduler;
mod send;
mod sweep;
mod tick;
pub mod trace;
pub mod worker;
pub mod zone_data;

//! What the stages pass on: users, their occasions, events and attempts, with their states.
//!
//! Plain values. Nothing here reads a clock, a database or a socket.

mod attempt;
mod event;
mod input;
mod schedule;
mod user;

pub use attempt::{Attempt, AttemptOutcome};
pub use event::{Event, EventState, Lease, Reason};
pub use input::{CAMEL_CASE, FieldError, FieldNames, SNAKE_CASE, UserInput};
pub use schedule::{Kind, LateJoin, NewEvent, Schedule};
pub use user::{BIRTHDAY, NewUser, Occasion, User};

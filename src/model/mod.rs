//! What the stages pass on: users, their occasions, events and attempts, with their states.
//!
//! Plain values. Nothing here reads a clock, a database or a socket.

mod attempt;
mod document;
mod event;
mod input;
mod instant;
mod object;
mod schedule;
mod token;
mod upcoming;
mod user;

pub use attempt::{Attempt, AttemptOutcome, EventWithAttempts};
pub use document::UserDocument;
pub use event::{DeadEvent, Event, EventState, Lease, Reason, UnknownReason};
pub use input::{CAMEL_CASE, FieldError, FieldNames, ID, SNAKE_CASE, UserInput, user_id};
pub use instant::{InvalidInstant, parse_instant};
pub use object::Object;
pub use schedule::{Kind, LateJoin, NewEvent, Schedule, first_year, nominal_date};
pub use token::{InvalidToken, Scope, Token, TokenHash};
pub use upcoming::Upcoming;
pub use user::{BIRTHDAY, NewUser, Occasion, User, Version};

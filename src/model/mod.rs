//! Users, occasions, events, attempts and tokens as plain values. Nothing here reads a clock, a database or a socket.

mod event;
mod input;
mod instant;
mod object;
mod schedule;
mod token;
mod user;

pub use event::{Attempt, AttemptOutcome, DeadEvent, Event, EventState, EventWithAttempts, Lease, Reason};
pub use input::{UserFields, UserInput, user_id};
pub use instant::parse_instant;
pub use object::{FieldError, Object};
pub use schedule::{LateJoin, NewEvent, Schedule, Upcoming, first_year, nominal_date};
pub use token::{InvalidToken, Scope, Token, TokenHash};
pub use user::{BIRTHDAY, NewUser, Occasion, User, Version};

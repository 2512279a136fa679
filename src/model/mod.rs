//! Users, contacts, occasions, events, attempts and tokens. Pure: no clock and no I/O.

mod address;
mod contact;
mod event;
mod feedback;
mod instant;
mod json_object;
mod schedule;
mod token;
mod trace;
mod user;
mod user_input;

pub(crate) use address::parse_locale;
pub use contact::{ChannelName, Contact, ContactStatus, ContactType};
pub use event::{
    Attempt, AttemptOutcome, DeadEvent, Event, EventState, EventWithAttempts, Lease, OrNone, Reason,
};
pub use feedback::{Feedback, FeedbackType};
pub use instant::{parse_date, parse_instant};
pub use json_object::{FieldError, JsonObject};
pub use schedule::{LateJoin, NewEvent, Schedule, Upcoming, first_year, nominal_date};
pub use token::{InvalidToken, Scope, Token, TokenHash, TokenState, parse_token_name};
pub use trace::{SpanContext, TraceId};
pub use user::{BIRTHDAY, NewUser, Occasion, User, UserWithContacts, Version};
pub use user_input::{UserFields, UserInput, parse_user_id};

//! What `bday demo` shows: fictitious people all over the world, a dozen of whom have their birthday right now, and an
//! account of which of their greetings arrived.
//!
//! Pure: whoever runs the demo brings the clock, the database and the receiver. Everything follows from one instant,
//! so that the same instant gives the same people.

mod account;
mod cast;
mod names;

pub use account::{Account, DemoResult, Guest};
pub use cast::{Cast, MAX_PEOPLE, Person};

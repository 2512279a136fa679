//! The sample people of `bday demo`, some of whom have their birthday right now, and a tracker of their greetings.
//!
//! Pure: the caller brings the clock, the database and the receiver. The same instant gives the same people.

mod names;
mod people;
mod tracker;

pub use people::{MAX_PEOPLE, SamplePeople, SamplePerson};
pub use tracker::{DemoSummary, ExpectedGreeting, GreetingTracker};

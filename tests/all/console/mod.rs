//! The console, in a browser and by its forms.

mod day;
mod event;
mod events;
mod failing;
mod failures;
mod keyboard;
mod shell;
mod sign_in;
mod today;

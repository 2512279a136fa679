//! The console, in a browser and by its forms.

mod calendar;
mod day;
mod event;
mod events;
mod failing;
mod failures;
mod keyboard;
mod pictures;
mod proxy;
mod shell;
mod sign_in;
mod today;
mod tokens;

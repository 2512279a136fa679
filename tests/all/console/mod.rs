//! The console, in a browser and by its forms.

mod calendar;
mod pictures;
mod proxy;
mod shell;
mod sign_in;
mod today;
mod tokens;

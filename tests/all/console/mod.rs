//! The console, in a browser and by its forms.

mod shell;
mod sign_in;
mod today;

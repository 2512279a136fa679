//! The console, in a browser and by its forms.

mod import;
mod message;
mod people;
mod person;
mod shell;
mod sign_in;
mod today;

//! bday sends every person a greeting on their birthday at 09:00 in their own time zone.

pub mod app;
pub mod calendar;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod embedded;
pub mod explain;
pub mod export;
pub mod forecast;
pub mod health;
pub mod http;
pub mod import;
pub mod inbox;
pub mod lifecycle;
pub mod login;
pub mod model;
pub mod queue;
pub mod scheduler;
pub mod source;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod tzguard;
pub mod worker;

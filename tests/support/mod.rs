//! Support for tests and benchmarks: private instances of the daemon's dependencies, with fault injection.

pub(crate) mod api;
pub(crate) mod aws_sms;
pub(crate) mod browser;
pub(crate) mod collector;
pub(crate) mod console;
pub(crate) mod database;
mod database_tests;
pub(crate) mod file;
pub(crate) mod http;
pub(crate) mod inbox;
pub(crate) mod mail_sender;
pub(crate) mod pgbouncer;
pub(crate) mod process;
mod process_tests;
pub(crate) mod python;
pub(crate) mod receiver;
mod receiver_tests;
pub(crate) mod relay;
pub(crate) mod slack;
pub(crate) mod smtp;
pub(crate) mod sqs;
mod sqs_tests;
pub(crate) mod tls;
pub(crate) mod twilio;
pub(crate) mod wait;
pub(crate) mod webhook;
pub(crate) mod world;

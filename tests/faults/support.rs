//! Test support modules that the fault suite shares.

#![expect(dead_code, reason = "the other tests use the rest")]

#[path = "../support/http.rs"]
pub(crate) mod http;
#[path = "../support/process.rs"]
pub(crate) mod process;
#[path = "../support/receiver.rs"]
pub(crate) mod receiver;
#[path = "../support/sqs/mod.rs"]
pub(crate) mod sqs;
#[path = "../support/wait.rs"]
pub(crate) mod wait;

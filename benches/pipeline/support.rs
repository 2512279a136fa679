//! Test support modules that the benchmark shares.

#![expect(dead_code, reason = "the tests use the rest")]
#![expect(clippy::unwrap_used, reason = "shared with the tests, which panic on failure")]

#[path = "../../tests/support/http.rs"]
pub(crate) mod http;
#[path = "../../tests/support/process.rs"]
pub(crate) mod process;
#[path = "../../tests/support/sqs/mod.rs"]
pub(crate) mod sqs;
#[path = "../../tests/support/wait.rs"]
pub(crate) mod wait;

//! A daemon whose clock the plan changes. It runs bday's library in this binary, so that the product needs no option for
//! a wrong time.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bday::clock::{Clock, SystemClock};
use bday::runtime::telemetry;
use bday::runtime::{self, Role};
use chrono::{DateTime, TimeDelta, Utc};

/// The system clock plus an offset that is read from a file, in milliseconds.
#[derive(Debug)]
struct TurnedClock {
    offset: PathBuf,
}

impl Clock for TurnedClock {
    fn now(&self) -> DateTime<Utc> {
        // An unreadable file counts as no offset.
        let offset = std::fs::read_to_string(&self.offset).ok().and_then(|text| text.trim().parse().ok());
        SystemClock.now() + TimeDelta::milliseconds(offset.unwrap_or(0))
    }
}

/// Runs the daemon like `bday serve`.
pub(crate) async fn serve(offset: PathBuf) -> ExitCode {
    let variables = std::env::vars().collect();
    let config = bday::config::load(None, variables).unwrap();
    telemetry::log_for_daemon(&config.log).unwrap();
    match runtime::serve(config, Role::All, Arc::new(TurnedClock { offset })).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

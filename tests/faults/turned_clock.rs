//! The daemon under a clock that the plan turns. It is the product's library in this binary, so that the product itself
//! needs no way to be told a wrong time.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bday::clock::{Clock, SystemClock};
use bday::runtime::telemetry;
use bday::runtime::{self, Role};
use chrono::{DateTime, TimeDelta, Utc};

/// The machine's clock, off by what a file says, in milliseconds.
#[derive(Debug)]
struct TurnedClock {
    offset: PathBuf,
}

impl Clock for TurnedClock {
    fn now(&self) -> DateTime<Utc> {
        // A file that is being written just now reads as empty: that is a clock that jumps back for a moment.
        let offset = std::fs::read_to_string(&self.offset).ok().and_then(|text| text.trim().parse().ok());
        SystemClock.now() + TimeDelta::milliseconds(offset.unwrap_or(0))
    }
}

/// What `bday serve` does.
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

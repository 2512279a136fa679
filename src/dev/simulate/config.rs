//! The configuration of the simulated daemons: the defaults, a second kind, and messages that show what is sent.

use std::collections::HashMap;

use chrono::NaiveDate;

use super::SimulationOptions;
use crate::config::{self, Config};
use crate::model::{BIRTHDAY, LateJoin};

pub(super) const KINDS: [&str; 2] = [BIRTHDAY, "work_anniversary"];
pub(super) const SEND_AT: [&str; KINDS.len()] = ["09:00", "10:30"];

const TEMPLATE: &str = "{{ full_name }}: {{ kind }} on {{ local_date }}, {% if years is none %}-{% else %}{{ years }}{% endif %}";

/// Returns the expected rendering of the template.
pub(super) fn message(number: u32, kind: &str, local_date: NaiveDate, years: Option<u32>) -> String {
    let years = years.map_or_else(|| "-".to_owned(), |years| years.to_string());
    format!("Sim {number:06}: {kind} on {local_date}, {years}")
}

pub(super) fn load(options: &SimulationOptions, database_url: &str) -> anyhow::Result<Config> {
    let late_join = match options.late_join {
        LateJoin::Send => "send",
        LateJoin::Skip => "skip",
    };
    let mut variables = HashMap::from([
        ("BDAY__DATABASE__URL".to_owned(), database_url.to_owned()),
        ("BDAY__QUEUE__KIND".to_owned(), "postgres".to_owned()),
        ("BDAY__WEBHOOK__URL".to_owned(), "http://127.0.0.1:9/".to_owned()),
        ("BDAY__PLAN__LATE_JOIN".to_owned(), late_join.to_owned()),
    ]);
    for (kind, send_at) in KINDS.iter().zip(SEND_AT) {
        let prefix = format!("BDAY__KINDS__{}__", kind.to_uppercase());
        variables.insert(format!("{prefix}MESSAGE"), TEMPLATE.to_owned());
        variables.insert(format!("{prefix}SEND_AT"), send_at.to_owned());
    }
    Ok(config::load(None, variables)?)
}

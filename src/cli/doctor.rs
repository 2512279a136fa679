//! `bday doctor`

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::ConfigSource;
use super::output::{self, GREEN, RED, YELLOW, paint};
use crate::calendar::format_count;
use crate::clock::SharedClock;
use crate::operations::doctor::{self, Finding, Grade, Resolver};

const EXAMPLES: &str = "\
Examples:
  bday doctor        check this machine, with the configuration of the daemon
  bday doctor --json | jq '.findings[] | select(.grade != \"ok\")'

Changes nothing and sends no greeting. Exit code 1 if a check failed; warnings do not count.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let config = source.load()?;
    let findings = doctor::run(&config, &clock, &Resolver::system()).await;
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let failures = count(Grade::Failure);
    if args.json {
        output::json(&json!({ "ok": failures == 0, "findings": findings }))?;
    } else {
        for finding in &findings {
            println!("{}", line(finding));
        }
        let warnings = format_count(count(Grade::Warning), "warning", "warnings");
        println!("\n{} ok, {warnings}, {}", count(Grade::Ok), format_count(failures, "failure", "failures"));
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(finding: &Finding) -> String {
    let grade = match finding.grade {
        Grade::Ok => paint(GREEN, "ok      "),
        Grade::Warning => paint(YELLOW, "warning "),
        Grade::Failure => paint(RED, "FAILURE "),
    };
    let advice = finding.advice.as_ref().map_or_else(String::new, |advice| format!("\n{:30}-> {advice}", ""));
    format!("{grade} {:20} {}{advice}", finding.check, output::escape(&finding.found))
}

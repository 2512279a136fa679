//! `bday doctor`

use std::process::ExitCode;

use serde_json::json;

use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::operations::doctor::{self, Finding, Grade};

const EXAMPLES: &str = "\
Examples:
  bday doctor        where the daemon would run, with its configuration
  bday doctor --json | jq '.findings[] | select(.grade != \"ok\")'

Changes nothing, and greets nobody. Exit code 1 when a check failed; warnings do not count.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let findings = doctor::run(&config, &clock).await;
    let worst = findings.iter().map(|finding| finding.grade).max();
    let failed = worst == Some(Grade::Failure);
    if args.json {
        output::json(&json!({ "ok": !failed, "findings": findings }))?;
    } else {
        let colour = output::coloured();
        for finding in &findings {
            println!("{}", line(finding, colour));
        }
        let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
        println!(
            "\n{} ok, {}, {}",
            count(Grade::Ok),
            output::plural(count(Grade::Warning), "warning", "warnings"),
            output::plural(count(Grade::Failure), "failure", "failures")
        );
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(finding: &Finding, colour: bool) -> String {
    let (word, paint) = match finding.grade {
        Grade::Ok => ("ok", "32"),
        Grade::Warning => ("warning", "33"),
        Grade::Failure => ("FAILURE", "31"),
    };
    let word = format!("{word:8}");
    let word = if colour { format!("\x1b[{paint}m{word}\x1b[0m") } else { word };
    let advice = finding.advice.as_ref().map_or_else(String::new, |advice| format!("\n{:30}-> {advice}", ""));
    let found = output::harmless(&finding.found);
    format!("{word} {:20} {found}{advice}", finding.check)
}

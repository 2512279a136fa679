//! Benchmark of the whole pipeline on this machine: `cargo bench --bench pipeline -- --scenario all`.
//!
//! Each actor is a process, so that its CPU time can be measured: PostgreSQL (private, as durable as in production), an
//! SQS endpoint (in memory), a receiver, `bday serve` in a release build, and this process, which sets up and observes.
//!
//! ```text
//! seed ──> PostgreSQL <──> bday serve <──> SQS endpoint
//!                              └─POST, SMTP─> receiver ──arrivals──> judge (exactly once? body exact?) ──> table
//! ```
//!
//! The due events are written before the daemon starts, so its first tick claims them. All times count from the start
//! of that tick, as logged by the daemon.
//!
//! Wall times depend on other load on the machine; CPU time per event hardly does. Compare CPU time per event between
//! machines and days.

mod api;
mod arrivals;
mod bare;
mod channels;
mod console;
mod endpoint;
mod history;
mod idle;
mod judge;
mod large;
mod load;
mod options;
mod part;
mod pipeline;
mod procfs;
mod receiver;
mod recovery;
mod scenario;
mod seed;
mod sink;
mod smtp;
mod support;
mod table;
mod waits;
mod world;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use load::{Load, Verdict};
use options::{Cli, Options, Role};
use scenario::Name;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    // One thread leaves the cores to the measured processes. The endpoint and the receiver need less than one core each. The process
    // that replaces the daemon has as many threads as the daemon.
    let mut runtime = match cli.role {
        Some(Role::Bare) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        match cli.role {
            Some(Role::Receiver { latency_ms }) => {
                receiver::run(latency_ms).await.map(|()| ExitCode::SUCCESS)
            }
            Some(Role::Endpoint) => endpoint::run().await.map(|()| ExitCode::SUCCESS),
            Some(Role::Bare) => bare::run().await.map(|()| ExitCode::SUCCESS),
            None => measure(&cli.options).await,
        }
    })
}

/// Runs the scenarios sequentially, each in a separate world.
async fn measure(options: &Options) -> anyhow::Result<ExitCode> {
    let mut sound = true;
    let (mut runs, mut idles, mut apis, mut larges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut recoveries, mut consoles) = (Vec::new(), Vec::new());
    for name in options.scenarios() {
        for _ in 0..options.repeat {
            eprintln!("{} …", name.as_str());
            let failed = || format!("scenario {}", name.as_str());
            let kept = |limits: &[Verdict]| !options.strict || limits.iter().all(|limit| limit.met);
            match name {
                Name::Idle => {
                    let idle = idle::run(options).await.with_context(failed)?;
                    sound &= kept(&idle.limits);
                    idles.push(idle);
                }
                Name::Api => {
                    let api = api::run(options).await.with_context(failed)?;
                    sound &= kept(&api.limits);
                    apis.push(api);
                }
                Name::Recovery => {
                    let recovery = recovery::run(options).await.with_context(failed)?;
                    sound &= kept(&recovery.limits);
                    recoveries.push(recovery);
                }
                Name::Large => {
                    let large = large::run(options).await.with_context(failed)?;
                    sound &= kept(&large.limits);
                    larges.push(large);
                }
                Name::Console => {
                    let console = console::run(options).await.with_context(failed)?;
                    sound &= kept(&console.limits);
                    consoles.push(console);
                }
                _ => {
                    let load = Load::new(name, options);
                    let loads = if name == Name::Channels { channels::loads(&load) } else { vec![load] };
                    for load in loads {
                        let run = pipeline::run(&load, options).await.with_context(failed)?;
                        sound &= run.is_exact() && kept(&run.limits);
                        runs.push(run);
                    }
                }
            }
        }
    }
    if options.json {
        println!(
            "{}",
            serde_json::json!({
                "runs": runs, "idle": idles, "api": apis, "large": larges, "recovery": recoveries, "console": consoles
            })
        );
    } else {
        table::print(&runs, &idles, &apis, &larges);
        table::print_recoveries(&recoveries);
        table::print_consoles(&consoles);
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

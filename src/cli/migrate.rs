//! `bday migrate`

use std::process::ExitCode;

use super::ConfigSource;
use crate::app;
use crate::config::QueueKind;

pub(super) async fn run(source: &ConfigSource) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let store = app::store(&config).await?;
    store.migrate().await?;
    let mut done = "the schema is up to date".to_owned();
    if config.queue.create || config.queue.kind == QueueKind::Postgres {
        app::queue(&config, &store).await.create().await?;
        done.push_str(", the queue is there");
    }
    store.close().await;
    println!("{done}");
    Ok(ExitCode::SUCCESS)
}

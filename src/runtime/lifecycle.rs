//! Start and shutdown of a process.
//!
//! SIGTERM or Ctrl-C stops the process from taking work (soft) and lets work in flight end until a deadline (hard). A second
//! signal ends the process immediately. A task that panics or ends unexpectedly stops the process with a failure, because
//! a process without one of its tasks seems healthy and does nothing. The first signal after that does not count as a
//! second one: its sender does not know of the shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::systemd;

/// A signal that follows another within this time is a duplicate: supervisors often signal a process and its group.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(500);
/// Time between the hard stop and the exit.
const ABORT_GRACE: Duration = Duration::from_secs(5);

type Tasks = JoinSet<(&'static str, anyhow::Result<()>)>;

/// The tasks of a process, and the two tokens that stop them.
#[derive(Debug)]
pub struct Lifecycle {
    /// Cancelled when tasks must take no new work.
    pub soft: CancellationToken,
    /// Cancelled when work in flight must end.
    pub hard: CancellationToken,
    tasks: Tasks,
    signals: Signals,
}

impl Lifecycle {
    /// Replaces the default actions of SIGTERM and SIGINT.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tasks: JoinSet::new(),
            signals: Signals::install()?,
        })
    }

    /// Starts a task that ends after `soft` is cancelled.
    pub fn start(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Starts a task that is dropped when `soft` is cancelled.
    pub fn start_until_stop(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Infallible> + Send + 'static,
    ) {
        let soft = self.soft.clone();
        self.start(name, async move {
            soft.run_until_cancelled(task).await;
            Ok(())
        });
    }

    /// Runs `work`. Returns `None` if a signal comes first, and an error if a task ends first.
    pub async fn before_stop<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<Option<T>> {
        tokio::select! {
            done = work => Ok(Some(done)),
            () = self.signals.next() => Ok(None),
            Some(ended) = self.tasks.join_next() => Err(unexpected_end(ended)),
        }
    }

    /// Waits for a signal or the end of a task, then stops everything. Work in flight may take `drain` to end.
    pub async fn run(mut self, drain: Duration) -> anyhow::Result<()> {
        let mut result = if self.soft.is_cancelled() {
            Ok(())
        } else {
            self.before_stop(std::future::pending::<()>()).await.map(|_| ())
        };
        match &result {
            Ok(()) => tracing::info!(drain_secs = drain.as_secs(), "shutting down"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "task ended unexpectedly: shutting down");
            }
        }
        let requested = result.is_ok();
        systemd::stopping();
        self.soft.cancel();
        tokio::select! {
            () = join_all(&mut self.tasks, &mut result) => tracing::info!("stopped"),
            () = abort_after(drain, &self.hard) => tracing::error!("tasks did not end: exiting"),
            () = self.signals.until_forced(requested) => {
                tracing::warn!("second signal: exiting immediately");
            }
        }
        result
    }
}

/// Waits for all tasks, and keeps the first error in `result`.
async fn join_all(tasks: &mut Tasks, result: &mut anyhow::Result<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.map_err(anyhow::Error::from).and_then(|(_, ended)| ended) {
            tracing::error!(error = format!("{error:#}"), "task failed during shutdown");
            if result.is_ok() {
                *result = Err(error);
            }
        }
    }
}

async fn abort_after(drain: Duration, hard: &CancellationToken) {
    tokio::time::sleep(drain).await;
    tracing::warn!("drain deadline exceeded: aborting work in flight");
    hard.cancel();
    tokio::time::sleep(ABORT_GRACE).await;
}

fn unexpected_end(ended: Result<(&'static str, anyhow::Result<()>), JoinError>) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow::anyhow!("{name} ended unexpectedly"),
        Ok((name, Err(error))) => error.context(format!("{name} failed")),
        Err(error) => anyhow::Error::from(error).context("a task panicked"),
    }
}

/// SIGTERM and SIGINT: the first requests a shutdown, the second forces it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Replaces their default actions.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn until_forced(&mut self, requested: bool) {
        let window = async || tokio::time::sleep(DUPLICATE_WINDOW).await;
        until_forced(requested, async || self.next().await, window).await;
    }
}

/// Waits for the second signal. `requested`: the first has come. Signals before the end of `window` are duplicates.
async fn until_forced(requested: bool, mut next: impl AsyncFnMut(), window: impl AsyncFn()) {
    if !requested {
        next().await;
        tracing::info!("already shutting down; send the signal again to exit immediately");
    }
    let duplicates = async {
        loop {
            next().await;
        }
    };
    tokio::select! {
        biased;
        () = duplicates => {}
        () = window() => {}
    }
    next().await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;

    /// Returns the number of signals, none of them a duplicate, that force the shutdown.
    async fn signals_until_forced(requested: bool) -> usize {
        let (signal, mut signals) = mpsc::channel(1);
        let next = async || {
            signals.recv().await;
        };
        let mut end = pin!(until_forced(requested, next, async || {}));
        let mut sent = 0;
        while end.as_mut().now_or_never().is_none() {
            signal.send(()).await.expect("a receiver");
            sent += 1;
        }
        sent
    }

    #[tokio::test]
    async fn the_signal_after_a_requested_shutdown_forces_it() {
        assert_eq!(signals_until_forced(true).await, 1);
    }

    #[tokio::test]
    async fn the_first_signal_after_the_end_of_a_task_does_not_force_the_shutdown() {
        assert_eq!(signals_until_forced(false).await, 2);
    }

    #[tokio::test]
    async fn a_duplicate_of_a_signal_does_not_force_the_shutdown() {
        let (signal, mut signals) = mpsc::channel(8);
        let next = async || {
            signals.recv().await;
        };
        for _ in 0..8 {
            signal.send(()).await.expect("capacity");
        }
        let mut end = pin!(until_forced(true, next, async || {}));
        assert_eq!(end.as_mut().now_or_never(), None);
        signal.send(()).await.expect("capacity");
        assert_eq!(end.as_mut().now_or_never(), Some(()));
    }
}

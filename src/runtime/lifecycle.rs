//! Start, stop, and what happens when a part dies.
//!
//! SIGTERM or Ctrl-C stops the taking of work (soft) and lets what is in flight end, up to a deadline (hard). A second
//! signal ends the process at once. A part that panics or ends by itself stops the process with a failure: half a
//! daemon looks alive and does nothing. The first signal after that asks for what is under way already.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::runtime::supervisor;

/// A signal that follows another this closely is the same wish: a supervisor often signals a process and its group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// How long the parts may take to end after the hard stop, before they are dropped.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// The parts of a process, and the two tokens that stop them.
#[derive(Debug)]
pub struct Lifecycle {
    /// Cancelled when no new work may be taken.
    pub soft: CancellationToken,
    /// Cancelled when work in flight must end.
    pub hard: CancellationToken,
    parts: JoinSet<(&'static str, anyhow::Result<()>)>,
    signals: Signals,
}

impl Lifecycle {
    /// Takes over SIGTERM and SIGINT.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            parts: JoinSet::new(),
            signals: Signals::take_over()?,
        })
    }

    /// Starts a part that is to run until `soft` is cancelled.
    pub fn start(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.parts.spawn(async move { (name, part.await) });
    }

    /// Runs `work`, unless a signal or the end of a part comes first.
    pub async fn before_stop<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<Option<T>> {
        tokio::select! {
            done = work => Ok(Some(done)),
            () = self.signals.next() => Ok(None),
            Some(ended) = self.parts.join_next() => { died(ended)?; Ok(None) }
        }
    }

    /// Runs until a signal comes or a part ends, then stops everything. What is in flight has `drain` to end.
    pub async fn run(mut self, drain: Duration) -> anyhow::Result<()> {
        let mut result = if self.soft.is_cancelled() {
            Ok(())
        } else {
            tokio::select! {
                () = self.signals.next() => Ok(()),
                Some(ended) = self.parts.join_next() => died(ended),
            }
        };
        match &result {
            Ok(()) => tracing::info!(drain_secs = drain.as_secs(), "stopping: taking no new work"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "stopping: a part of the process died");
            }
        }
        let asked = result.is_ok();
        supervisor::stopping();
        self.soft.cancel();
        let hard = self.hard.clone();
        let all_ended = async {
            while let Some(ended) = self.parts.join_next().await {
                let ended = ended.map_err(anyhow::Error::from).and_then(|(_, ended)| ended);
                if let Err(error) = ended {
                    tracing::error!(error = format!("{error:#}"), "a part failed while stopping");
                    result = std::mem::replace(&mut result, Ok(())).and(Err(error));
                }
            }
        };
        let deadline = async {
            tokio::time::sleep(drain).await;
            tracing::warn!("the drain deadline is over: breaking off what is still in flight");
            hard.cancel();
            tokio::time::sleep(LAST_GRACE).await;
        };
        tokio::select! {
            () = all_ended => tracing::info!("stopped"),
            () = deadline => tracing::error!("some parts did not end, and are dropped"),
            () = self.signals.ends_at_once(asked) => {
                tracing::warn!("second signal: ending at once");
            }
        }
        result
    }
}

/// SIGTERM and SIGINT, which ask for an end: the first time in good order, the second time at once.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they do nothing by themselves.
    pub fn take_over() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for another wish to end after the first. A signal that comes within half a second of that is its echo.
    pub async fn second(&mut self) {
        self.ends_at_once(true).await;
    }

    /// Waits for the second wish to end; the first has come already if it was `asked` for.
    async fn ends_at_once(&mut self, asked: bool) {
        second(
            asked,
            async || self.next().await,
            async || {
                tokio::time::sleep(SAME_SIGNAL).await;
            },
        )
        .await;
    }
}

/// Waits for the second signal; `asked` says that the first has come. What comes before `settled` ends is its echo.
async fn second(asked: bool, mut next: impl AsyncFnMut(), settled: impl AsyncFn()) {
    if !asked {
        next().await;
        tracing::info!("signal: it is stopping already; another one ends it at once");
    }
    let echoes = async {
        loop {
            next().await;
        }
    };
    tokio::select! {
        biased;
        () = echoes => {}
        () = settled() => {}
    }
    next().await;
}

fn died(ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok((name, Ok(()))) => Err(anyhow::anyhow!("{name} ended by itself")),
        Ok((name, Err(error))) => Err(error.context(format!("{name} failed"))),
        Err(error) => Err(anyhow::Error::from(error).context("a part panicked")),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;

    /// After so many signals, each on its own, it ends at once.
    async fn signals_until_the_end(asked: bool) -> usize {
        let (signal, mut signals) = mpsc::channel(1);
        let next = async || {
            signals.recv().await;
        };
        let mut end = pin!(second(asked, next, async || {}));
        let mut sent = 0;
        while end.as_mut().now_or_never().is_none() {
            signal.send(()).await.expect("somebody listens");
            sent += 1;
        }
        sent
    }

    #[tokio::test]
    async fn where_a_signal_began_the_stop_the_next_ends_it_at_once() {
        assert_eq!(signals_until_the_end(true).await, 1);
    }

    /// As from a supervisor that stops what is failing: it knows nothing of the drain, and has not asked for one yet.
    #[tokio::test]
    async fn where_a_part_died_the_first_signal_asks_for_the_stop_that_is_under_way() {
        assert_eq!(signals_until_the_end(false).await, 2);
    }

    #[tokio::test]
    async fn the_echo_of_a_signal_is_no_second_one() {
        let (signal, mut signals) = mpsc::channel(8);
        let next = async || {
            signals.recv().await;
        };
        for _ in 0..8 {
            signal.send(()).await.expect("there is room");
        }
        let mut end = pin!(second(true, next, async || {}));
        assert_eq!(end.as_mut().now_or_never(), None);
        signal.send(()).await.expect("there is room");
        assert_eq!(end.as_mut().now_or_never(), Some(()));
    }
}

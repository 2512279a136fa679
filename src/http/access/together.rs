//! Many callers, one statement: whoever comes while a statement is on its way shares the next.
//!
//! There is no task behind it. Each caller puts its row down and queues for the turn; who has it writes all rows that lie
//! there, and the others find theirs written when their turn comes. Alone, a caller writes at once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::store::StoreError;

/// What became of a row, for the caller who waits for it.
type Outcome = OnceLock<Result<(), Arc<StoreError>>>;

/// Rows that wait for a statement. Of each, the caller holds the outcome; who no longer waits has given up.
type Waiting<T> = Vec<(T, Weak<Outcome>)>;

/// See the module. Rows must bear to be written twice: a caller that gives up in the middle leaves them to the next.
#[derive(Debug)]
pub(super) struct Together<T> {
    waiting: Mutex<Waiting<T>>,
    turn: tokio::sync::Mutex<()>,
}

impl<T> Default for Together<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl<T> Together<T> {
    /// Has `row` written by `write`, which gets it with all that wait.
    pub(super) async fn write(
        &self,
        row: T,
        write: impl AsyncFnOnce(&[&T]) -> Result<(), StoreError>,
    ) -> Result<(), Arc<StoreError>> {
        let outcome = Arc::new(Outcome::new());
        self.put(vec![(row, Arc::downgrade(&outcome))]);
        let turn = self.turn.lock().await;
        if let Some(written) = outcome.get() {
            return written.clone();
        }
        let batch = Batch {
            of: self,
            rows: self.take(),
        };
        let rows: Vec<&T> = batch.rows.iter().map(|(row, _)| row).collect();
        let written = write(&rows).await.map_err(Arc::new);
        batch.settle(&written);
        drop(turn);
        written
    }

    fn put(&self, rows: Waiting<T>) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(rows);
    }

    /// All that somebody still waits for.
    fn take(&self) -> Waiting<T> {
        let mut rows = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        rows.retain(|(_, outcome)| outcome.strong_count() > 0);
        rows
    }
}

/// Rows on their way. Those without an outcome wait again when this ends: its caller gave up.
struct Batch<'a, T> {
    of: &'a Together<T>,
    rows: Waiting<T>,
}

impl<T> Batch<'_, T> {
    fn settle(mut self, written: &Result<(), Arc<StoreError>>) {
        for outcome in self.rows.drain(..).filter_map(|(_, outcome)| outcome.upgrade()) {
            // Nobody else has these rows.
            let _first = outcome.set(written.clone());
        }
    }
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        self.of.put(std::mem::take(&mut self.rows));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn whoever_comes_meanwhile_shares_the_next_statement() {
        let (together, door) = (Together::default(), Notify::new());
        let batches = Mutex::new(Vec::new());
        let write = async |rows: &[&u32]| {
            batches.lock().expect("no panic").push(rows.len());
            if rows == [&0] {
                door.notified().await;
            }
            Ok(())
        };
        let all = join_all((0..50).map(|n| together.write(n, &write)));
        let open = async { door.notify_one() };
        let (written, ()) = tokio::join!(all, open);
        assert!(written.iter().all(Result::is_ok));
        assert_eq!(*batches.lock().expect("no panic"), [1, 49]);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_leaves_the_rows_of_others_to_the_next() {
        let together = Together::default();
        let mut given_up = Box::pin(together.write(1, async |_: &[&u32]| pending().await));
        assert!((&mut given_up).now_or_never().is_none());
        let mut seen = Vec::new();
        let mut next = Box::pin(together.write(2, async |rows: &[&u32]| {
            seen.extend(rows.iter().map(|row| **row));
            Ok(())
        }));
        assert!((&mut next).now_or_never().is_none());
        drop(given_up);
        next.await.expect("written");
        assert_eq!(seen, [2], "nobody waits for the first any more");
    }

    #[tokio::test]
    async fn a_failure_is_everybodys() {
        let together = Together::default();
        let write = async |_: &[&u32]| Err(StoreError::Timeout(std::time::Duration::ZERO));
        let written = join_all((0..3).map(|n| together.write(n, write))).await;
        assert!(written.iter().all(Result::is_err));
    }
}

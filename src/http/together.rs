//! Many requests, one statement: whoever comes while a statement is on its way shares the next.
//!
//! Each caller puts its row down and queues for the lane; who has it sends all rows that lie there on their way, and the
//! others learn what became of theirs. Alone, a caller waits for nobody; the more come, the more share a statement. Who has
//! waited for long may take a side lane, past a statement that hangs on somebody's lock. A statement that is on its way
//! goes on even if its caller gives up, since it has rows of others: so no row is ever written twice.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::store::StoreError;

/// Rows in a statement at the most.
const MOST: usize = 256;

/// Statements that may be on their way beside the one in the lane. With more at all times, each would have few rows: fifty
/// who create users at once were served a third more slowly.
const SIDE_LANES: usize = 2;

/// How long the lane is waited for before a side lane will do. Most statements take a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(25);

/// How often the others have a turn before a statement begins, as long as each brings new rows.
const TURNS: usize = 8;

/// What became of a row, for the caller who waits for it. A failure is everybody's.
pub(super) type Outcome<R> = Result<R, Arc<StoreError>>;

/// Writes rows; gives for each, in the same order, what became of it.
type Write<T, R> = dyn Fn(Vec<T>) -> BoxFuture<'static, Result<Vec<R>, StoreError>> + Send + Sync;

/// Rows, each with who waits for it.
type Waiting<T, R> = Vec<(T, oneshot::Sender<Outcome<R>>)>;

/// See the module.
pub(super) struct Together<T, R> {
    write: Box<Write<T, R>>,
    waiting: Mutex<Waiting<T, R>>,
    lane: Arc<Semaphore>,
    side_lanes: Arc<Semaphore>,
}

impl<T, R> std::fmt::Debug for Together<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Together").finish_non_exhaustive()
    }
}

impl<T, R> Together<T, R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    /// Rows are written by `write`.
    pub(super) fn new<F>(write: impl Fn(Vec<T>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<R>, StoreError>> + Send + 'static,
    {
        Self {
            write: Box::new(move |rows| Box::pin(write(rows))),
            waiting: Mutex::default(),
            lane: Arc::new(Semaphore::new(1)),
            side_lanes: Arc::new(Semaphore::new(SIDE_LANES)),
        }
    }

    /// Has `row` written with all that wait.
    #[expect(
        clippy::disallowed_methods,
        reason = "it has rows of others, and ends at the store's deadline; there is one for each lane and side lane"
    )]
    pub(super) async fn write(&self, row: T) -> Outcome<R> {
        let (tell, mut told) = oneshot::channel();
        self.waiting().push((row, tell));
        loop {
            let lane = tokio::select! {
                biased;
                outcome = &mut told => return outcome.unwrap_or_else(|_| stopped()),
                lane = self.lane() => lane,
            };
            self.gather().await;
            let (rows, callers) = self.take();
            if rows.is_empty() {
                // Ours is on its way.
                drop(lane);
                return told.await.unwrap_or_else(|_| stopped());
            }
            let written = (self.write)(rows);
            tokio::spawn(async move {
                tell_all(callers, written.await);
                drop(lane);
            });
        }
    }

    async fn lane(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let mut lane = pin!(Arc::clone(&self.lane).acquire_owned());
        if let Ok(lane) = tokio::time::timeout(PATIENCE, lane.as_mut()).await {
            return lane;
        }
        tokio::select! {
            lane = lane => lane,
            lane = Arc::clone(&self.side_lanes).acquire_owned() => lane,
        }
    }

    /// Lets everybody who is on the way here put a row down: who was just answered asks again at the same moment as others.
    async fn gather(&self) {
        let mut there = 0;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            let now = self.waiting().len();
            if now == there {
                break;
            }
            there = now;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T, R>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that came first, of all that somebody still waits for.
    fn take(&self) -> (Vec<T>, Vec<oneshot::Sender<Outcome<R>>>) {
        let mut waiting = self.waiting();
        waiting.retain(|(_, caller)| !caller.is_closed());
        let some = waiting.len().min(MOST);
        waiting.drain(..some).unzip()
    }
}

/// A caller is not told when the runtime goes down, or after a panic.
fn stopped<R>() -> Outcome<R> {
    Err(Arc::new(StoreError::Stopped))
}

fn tell_all<R>(callers: Vec<oneshot::Sender<Outcome<R>>>, written: Result<Vec<R>, StoreError>) {
    // Who gave up meanwhile is not told.
    match written {
        Ok(results) => {
            for (caller, result) in callers.into_iter().zip(results) {
                let _ = caller.send(Ok(result));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for caller in callers {
                let _ = caller.send(Err(Arc::clone(&error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    /// What each statement had.
    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Doubles numbers, a statement for each permit of the door.
    fn doubling(door: &Arc<Semaphore>) -> (Together<u32, u32>, Batches) {
        let batches = Batches::default();
        let (seen, door) = (Arc::clone(&batches), Arc::clone(door));
        let together = Together::new(move |rows: Vec<u32>| {
            seen.lock().expect("no panic").push(rows.clone());
            let door = Arc::clone(&door);
            async move {
                door.acquire().await.expect("open").forget();
                Ok(rows.iter().map(|row| row * 2).collect())
            }
        });
        (together, batches)
    }

    /// Lets a caller go as far as it can by itself.
    fn start<F: Future + Unpin>(caller: &mut F) {
        for _ in 0..=TURNS + 1 {
            assert!(caller.now_or_never().is_none());
        }
    }

    /// Lets a caller go on, which has no answer yet, until something else has happened.
    async fn until<F: Future + Unpin>(caller: &mut F, happened: impl Fn() -> bool) {
        let wait = async {
            while !happened() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = caller => panic!("it was answered"),
            () = wait => {}
        }
    }

    #[tokio::test]
    async fn whoever_comes_meanwhile_shares_the_next_statement_up_to_a_bound() {
        let door = Arc::new(Semaphore::new(0));
        let (together, batches) = doubling(&door);
        let mut first = Box::pin(together.write(0));
        start(&mut first);
        let all = join_all((1..300).map(|n| together.write(n)));
        let open = async { door.add_permits(3) };
        let (first, written, ()) = tokio::join!(first, all, open);
        assert_eq!(first.expect("written"), 0);
        let written: Vec<u32> = written.into_iter().map(|one| one.expect("written")).collect();
        assert_eq!(written, (1..300).map(|n| n * 2).collect::<Vec<_>>());
        let sizes: Vec<usize> = batches.lock().expect("no panic").iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 256, 43]);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_takes_nobody_along_and_its_row_is_written_once() {
        let door = Arc::new(Semaphore::new(0));
        let (together, batches) = doubling(&door);
        let mut callers: Vec<_> = (1..=3).map(|n| Box::pin(together.write(n))).collect();
        callers.iter_mut().for_each(start);
        tokio::task::yield_now().await;
        // The last two wait for the lane, the first is on its way.
        let last = callers.pop().expect("the third");
        drop(callers);
        door.add_permits(2);
        assert_eq!(last.await.expect("written"), 6);
        assert_eq!(*batches.lock().expect("no panic"), [vec![1], vec![3]]);
    }

    #[tokio::test]
    async fn a_statement_that_hangs_is_passed_and_there_are_never_more_than_three() {
        let door = Arc::new(Semaphore::new(0));
        let (together, batches) = doubling(&door);
        let seen = || batches.lock().expect("no panic").clone();
        let mut callers: Vec<_> = (1..=6).map(|n| Box::pin(together.write(n))).collect();
        callers.iter_mut().for_each(start);
        let (first, later) = (callers.remove(0), callers.split_off(1));
        let mut second = callers.remove(0);
        assert_eq!(seen(), [[1]]);
        // The rows that lie there go along; one that comes behind them has the other side lane.
        until(&mut second, || seen().len() == 2).await;
        assert_eq!(seen(), [vec![1], vec![2, 3, 4, 5, 6]]);
        let mut seventh = Box::pin(together.write(7));
        until(&mut seventh, || seen().len() == 3).await;
        let eighth = tokio::time::timeout(PATIENCE * 2, together.write(8));
        assert!(eighth.await.is_err());
        assert_eq!(seen(), [vec![1], vec![2, 3, 4, 5, 6], vec![7]]);
        door.add_permits(3);
        let written: Vec<u32> = join_all(later)
            .await
            .into_iter()
            .map(|one| one.expect("written"))
            .collect();
        assert_eq!(
            (first.await.expect("written"), second.await.expect("written")),
            (2, 4)
        );
        assert_eq!(written, [6, 8, 10, 12]);
    }

    #[tokio::test]
    async fn those_who_come_at_one_moment_go_together() {
        let door = Arc::new(Semaphore::new(1));
        let (together, batches) = doubling(&door);
        join_all((0..50).map(|n| together.write(n))).await;
        assert_eq!(*batches.lock().expect("no panic"), [(0..50).collect::<Vec<_>>()]);
    }

    #[tokio::test]
    async fn a_failure_is_everybodys() {
        let together = Together::<u32, ()>::new(async |_| Err(StoreError::Timeout(Duration::ZERO)));
        let written = join_all((0..3).map(|n| together.write(n))).await;
        assert!(written.iter().all(Result::is_err));
    }

    #[tokio::test]
    async fn a_panic_leaves_nobody_waiting() {
        let together = Together::<u32, ()>::new(async |_| panic!("a bug"));
        let written = join_all((0..3).map(|n| together.write(n))).await;
        assert!(written.iter().all(Result::is_err));
    }
}

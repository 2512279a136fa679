//! Work on the pool that was given up before its end.
//!
//! Whoever is answered leaves a connection that works. Whoever gives up leaves one whose answer is still to come, and that
//! never comes where the other side is gone without a word.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;

use crate::clock::{Clock as _, SystemClock};

/// A connection goes back as soon as its task has a turn. Not much more, since all that come back meanwhile are asked too, and
/// at the API somebody hangs up now and then.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(2);

/// When work on the pool was given up the last time.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenUp(Arc<Mutex<Option<Instant>>>);

impl GivenUp {
    /// Runs `work`, and notes when it is given up: by its `deadline`, or by whoever waits for it.
    pub(super) async fn watch<F: Future>(&self, deadline: Duration, work: F) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        // Dropped before the work, and so before a connection goes back.
        let unfinished = Unfinished(Some(self));
        let answer = tokio::time::timeout(deadline, work.as_mut()).await?;
        unfinished.finished();
        Ok(answer)
    }

    /// Whether that was so lately that a connection which comes back now may have been left by it.
    pub(super) fn just_now(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| SystemClock.monotonic().duration_since(last) < COMES_BACK_WITHIN)
    }
}

struct Unfinished<'a>(Option<&'a GivenUp>);

impl Unfinished<'_> {
    fn finished(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(given_up) = self.0 {
            *given_up.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemClock.monotonic());
        }
    }
}

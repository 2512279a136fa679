//! The time after a deadline in which a response that has already arrived is still read.
//!
//! When the process was suspended, or got no CPU time, the deadline has passed and the response is in the socket: a timeout would lead to
//! a second greeting.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;

const TURNS: u32 = 10;
const TURN: Duration = Duration::from_millis(10);

/// Returns the output of `response` if it has arrived. Many short waits: each gives the runtime a turn to read the socket, also if the
/// process stands still meanwhile. A single wait may then end in its first turn.
pub(super) async fn arrived<F: Future>(mut response: Pin<&mut F>) -> Option<F::Output> {
    for _ in 0..TURNS {
        if let Ok(output) = timeout(TURN, response.as_mut()).await {
            return Some(output);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[tokio::test]
    async fn a_process_that_stands_still_reads_what_has_arrived() {
        let mut polls = 0;
        // As long as all turns together.
        let stall = TURN * TURNS;
        let response = poll_fn(|context| {
            let from = SystemClock.monotonic();
            while SystemClock.monotonic() - from < stall {
                std::hint::spin_loop();
            }
            polls += 1;
            context.waker().wake_by_ref();
            if polls < 4 { Poll::Pending } else { Poll::Ready(polls) }
        });
        assert_eq!(arrived(pin!(response)).await, Some(4));
    }

    #[tokio::test]
    async fn what_has_not_arrived_is_not_waited_for() {
        assert_eq!(arrived(pin!(pending::<()>())).await, None);
    }
}

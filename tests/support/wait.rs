//! Waits for conditions, with a deadline, instead of sleeping.

use std::time::Duration;

/// Long enough for a busy machine; only failing tests wait this long.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Waits for `future`, and panics with `what` after [`DEADLINE`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(DEADLINE, future).await;
    outcome.unwrap_or_else(|_| panic!("timed out after {} s waiting for: {what}", DEADLINE.as_secs()))
}

/// Polls `probe` until it returns a value. Only for sources without notifications, such as files of another process.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            if let Some(value) = probe().await {
                return value;
            }
        }
    })
    .await
}

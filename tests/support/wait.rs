//! Waiting without sleeping: a test waits for what happens, and fails at a deadline.

use std::time::Duration;

/// Long enough for a loaded machine; nothing that works takes it.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Waits for `future`, and panics with `what` when it has not come at the deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(DEADLINE, future).await;
    outcome.unwrap_or_else(|_| panic!("waited {} s for: {what}", DEADLINE.as_secs()))
}

/// Asks again until `probe` gives a value: only for what cannot notify, such as another process's files.
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

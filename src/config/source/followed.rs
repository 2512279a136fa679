//! A value that changes while the process runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use super::{Reference, Source, Sources};
use crate::store::chain;

/// The error does not repeat the value.
type Parse<T> = fn(&str) -> Result<T, String>;

/// A key of the configuration with its current value.
#[derive(Debug)]
pub struct Followed<T> {
    key: &'static str,
    reference: Reference,
    source: Arc<dyn Source>,
    parse: Parse<T>,
    current: watch::Sender<T>,
}

impl<T: PartialEq> Followed<T> {
    /// Fetches the first value. An error names `key` and the source.
    pub async fn start(
        sources: &Sources,
        key: &'static str,
        reference: &Reference,
        parse: Parse<T>,
    ) -> anyhow::Result<Self> {
        let source = sources.open(reference);
        let value = fetch(&*source, parse)
            .await
            .map_err(|error| anyhow::anyhow!("{key} (from {reference}): {error}"))?;
        Ok(Self { key, reference: reference.clone(), source, parse, current: watch::Sender::new(value) })
    }

    #[must_use]
    pub fn watch(&self) -> watch::Receiver<T> {
        self.current.subscribe()
    }

    /// Refreshes every `interval`. A value in the configuration itself does not change.
    pub async fn run(&self, interval: Duration) -> Infallible {
        if self.reference.literal().is_some() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(interval).await;
            self.refresh().await;
        }
    }

    /// Fetches the value again. If that fails or the value is invalid, the previous value stays in effect.
    pub async fn refresh(&self) {
        let source = &self.reference;
        match fetch(&*self.source, self.parse).await {
            Ok(value) => {
                let changed = self.current.send_if_modified(|current| {
                    let changed = *current != value;
                    *current = value;
                    changed
                });
                if changed {
                    tracing::info!(key = self.key, %source, "value changed");
                }
            }
            Err(error) => {
                counter!("bday_source_failures_total", "key" => self.key).increment(1);
                tracing::warn!(key = self.key, %source, error, "value refresh failed");
            }
        }
    }
}

async fn fetch<T>(source: &dyn Source, parse: Parse<T>) -> Result<T, String> {
    let value = source.fetch().await.map_err(|error| chain(&error))?;
    parse(value.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn number(text: &str) -> Result<u32, String> {
        text.parse().map_err(|_| "is not a number".to_owned())
    }

    #[tokio::test]
    async fn a_refresh_follows_changes_and_keeps_the_last_valid_value() {
        let path = std::env::temp_dir().join(format!("bday-follow-{}", std::process::id()));
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        let reference = format!("file:{}", path.display()).parse().expect("a reference");
        let sources = Sources::new(Arc::new(SystemClock));

        write("secret-word");
        let error = Followed::start(&sources, "some.key", &reference, number)
            .await
            .expect_err("no number")
            .to_string();
        assert!(
            error.starts_with("some.key (from file:") && error.ends_with("): is not a number"),
            "{error}"
        );

        write("1");
        let followed = Followed::start(&sources, "some.key", &reference, number).await.expect("a number");
        let mut seen = followed.watch();
        assert_eq!(*seen.borrow_and_update(), 1);
        followed.refresh().await;
        assert!(!seen.has_changed().expect("alive"));
        write("2");
        followed.refresh().await;
        assert_eq!(*seen.borrow_and_update(), 2);
        write("secret-word");
        followed.refresh().await;
        std::fs::remove_file(&path).expect("the file");
        followed.refresh().await;
        assert_eq!(*seen.borrow_and_update(), 2);
    }
}

//! The section `[channels.slack]`, from the configuration to a message.

use std::sync::Arc;

use bday::clock::{SharedClock, SystemClock};
use bday::config::source::Sources;
use bday::config::{Config, load, parts};
use bday::pipeline::channel::Disposition;
use serde_json::json;

use crate::support::process::Bday;
use crate::support::slack::{FakeSlack, TOKEN, greeting_to};

const COMPLETE: [(&str, &str); 3] = [
    ("BDAY__QUEUE__KIND", "postgres"),
    ("BDAY__DATABASE__HOST", "db"),
    ("BDAY__KINDS__BIRTHDAY__CHANNELS", "slack"),
];

fn config(variables: &[(&str, &str)]) -> Config {
    let all = COMPLETE.iter().chain(variables);
    load(None, all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()).unwrap()
}

/// Builds the only channel of the configuration, and sends a greeting.
async fn send(config: &Config) -> anyhow::Result<Disposition> {
    let clock: SharedClock = Arc::new(SystemClock);
    let (sources, store) = (Sources::new(Arc::clone(&clock)), parts::store_without_login(config, 0));
    let parts = parts::Parts { config, sources: &sources, store: &store, clock: &clock };
    let (channels, _) = parts::channels(&parts).await?;
    let [slack] = &channels[..] else { panic!("{channels:?}") };
    assert!(!format!("{channels:?}").contains(TOKEN));
    Ok(slack.channel.send(&greeting_to("U0ADA")).await.disposition)
}

#[tokio::test]
async fn a_url_and_a_channel_are_all_that_slack_requires() {
    let fake = FakeSlack::start().await;
    let url = ("BDAY__CHANNELS__SLACK__URL", &*fake.bot_url());
    assert_eq!(send(&config(&[url])).await.unwrap(), Disposition::Delivered);
    assert_eq!(fake.calls()[0].arguments["channel"], "U0ADA");
    let channel = ("BDAY__CHANNELS__SLACK__CHANNEL", "C0PARTY");
    assert_eq!(send(&config(&[url, channel])).await.unwrap(), Disposition::Delivered);
    assert_eq!(fake.calls()[0].arguments["channel"], "C0PARTY");
    let url = ("BDAY__CHANNELS__SLACK__URL", &*fake.incoming_url());
    assert_eq!(send(&config(&[url])).await.unwrap(), Disposition::Delivered);
    assert_eq!(fake.calls()[0].arguments, json!({ "text": "<@U0ADA> Hey" }));
}

#[tokio::test]
async fn an_invalid_section_ends_the_process_immediately() {
    let url = "BDAY__CHANNELS__SLACK__URL";
    let channel = ("BDAY__CHANNELS__SLACK__CHANNEL", "C0PARTY");
    for (variables, expected) in [
        (vec![], "channels.slack.url is empty: set BDAY__CHANNELS__SLACK__URL"),
        (vec![(url, "xoxb-hunter2")], "channels.slack.url is not a URL: give slack://TOKEN@slack.com"),
        (vec![(url, "slack://xoxb-hunter2")], "channels.slack.url has no token in front of the host"),
        (
            vec![(url, "slack+http://xoxb-hunter2@example.org")],
            "channels.slack.url is slack+http:// to another",
        ),
        (vec![(url, "http://example.org/hunter2")], "channels.slack.url is http:// to another machine"),
        (
            vec![(url, "https://hooks.slack.com/services/hunter2"), channel],
            "channels.slack.url is an incoming webhook, which posts to the channel that it was created for: remove \
             channels.slack.channel",
        ),
        (
            vec![(url, "slack://xoxb-hunter2@slack.com"), (channel.0, "#general")],
            "channels.slack.channel is \"#general\": give the id of a channel",
        ),
    ] {
        let variables = COMPLETE.iter().chain(&variables).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let finished = Bday::new(["serve"]).envs(variables).finish().await;
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(expected), "{expected}: {finished:?}");
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test]
async fn an_invalid_value_from_another_place_is_an_error_that_names_key_and_place() {
    let file = std::env::temp_dir().join(format!("bday-test-{}", uuid::Uuid::now_v7()));
    let place = format!("file:{}", file.display());
    let url = ("BDAY__CHANNELS__SLACK__URL", &*place);
    for (variables, value, expected) in [
        (vec![url], "xoxb-hunter2", "it is not a URL"),
        (
            vec![url, ("BDAY__CHANNELS__SLACK__CHANNEL", "C0PARTY")],
            "https://hooks.slack.com/services/hunter2",
            "it is an incoming webhook",
        ),
    ] {
        std::fs::write(&file, value).unwrap();
        let error = send(&config(&variables)).await.unwrap_err().to_string();
        let expected = format!("channels.slack.url (from {place}): {expected}");
        assert!(error.starts_with(&expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn config_show_hides_token_and_webhook() {
    for (url, shown) in [
        ("slack://xoxb-hunter2@slack.com", "slack://slack.com"),
        ("https://hooks.slack.com/services/hunter2", "https://hooks.slack.com/[redacted]"),
    ] {
        let finished =
            Bday::new(["config", "show"]).env("BDAY__CHANNELS__SLACK__URL", url).finish().await.succeeded();
        assert!(finished.contains(shown) && !finished.contains("hunter2"), "{finished}");
    }
}

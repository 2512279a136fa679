//! The scenario `channels`: the same number of events by each channel alone, then all of them at once. Each user has the contact of
//! one channel, or none, so that the route decides.

use bday::model::ChannelName;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;

use super::arrivals::Arrival;
use super::load::Load;
use super::receiver::Urls;
use super::seed;
use super::waits::{percentile, waits};

const ROUTE: [ChannelName; 3] = [ChannelName::Mail, ChannelName::Slack, ChannelName::Webhook];

/// Gives the due users the channels `$1` by turns. The hash of an address is not read before the address is suppressed.
const CONTACTS: &str = "
INSERT INTO contact_points (user_id, type, address, address_hash)
SELECT user_id, type, address, sha256(address::bytea)
FROM (
    SELECT user_id, ($1::text[])[1 + n % cardinality($1)] AS channel, n
    FROM (SELECT user_id, row_number() OVER (ORDER BY id) AS n FROM events) AS due
) AS due
JOIN LATERAL (VALUES ('mail', 'email', 'user' || n || '@example.org'), ('slack', 'slack_user_id', 'U' || 1000000 + n))
    AS contact(channel, type, address) USING (channel)";

/// What one channel of several did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChannelFigures {
    pub(crate) channel: ChannelName,
    pub(crate) events: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) last_ms: f64,
}

/// Returns one load for each channel, and one for all.
pub(crate) fn loads(load: &Load) -> Vec<Load> {
    let of = |scenario, channels: &'static [ChannelName]| {
        let times = channels.len() as u32;
        Load { scenario, channels, events: load.events * times, users: load.users * times, ..load.clone() }
    };
    vec![
        of("mail", &[ChannelName::Mail]),
        of("slack", &[ChannelName::Slack]),
        of("webhook", &[ChannelName::Webhook]),
        of("mixed", &ROUTE),
    ]
}

/// Returns the environment variables for a daemon with all channels of the route.
pub(crate) fn environment(urls: &Urls) -> Vec<(String, String)> {
    let variables = [
        ("BDAY__KINDS__BIRTHDAY__CHANNELS", ROUTE.map(ChannelName::as_str).join(",")),
        ("BDAY__CHANNELS__MAIL__URL", urls.mail.clone()),
        ("BDAY__CHANNELS__MAIL__FROM", "Bench <bench@example.com>".to_owned()),
        ("BDAY__CHANNELS__SLACK__URL", urls.slack.clone()),
        ("BDAY__CHANNELS__SLACK__MAX_PER_SECOND", "0".to_owned()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

pub(crate) async fn seed(pool: &PgPool, channels: &[ChannelName]) -> anyhow::Result<()> {
    let names: Vec<&str> = channels.iter().map(|channel| channel.as_str()).collect();
    sqlx::query(CONTACTS).bind(names).execute(pool).await?;
    seed::settle(pool).await
}

/// Returns the figures of each channel, if there are several. Times count from `first`.
pub(crate) fn figures(
    channels: &[ChannelName],
    arrivals: &[Arrival],
    first: DateTime<Utc>,
) -> Vec<ChannelFigures> {
    let of = |channel: ChannelName| {
        let waits = waits(arrivals.iter().filter(|arrival| arrival.channel == channel), first);
        let last_ms = percentile(&waits, 1.0);
        ChannelFigures {
            channel,
            events: waits.len(),
            per_second: waits.len() as f64 * 1e3 / last_ms,
            p50_ms: percentile(&waits, 0.5),
            p99_ms: percentile(&waits, 0.99),
            last_ms,
        }
    };
    if channels.len() < 2 { Vec::new() } else { channels.iter().map(|channel| of(*channel)).collect() }
}

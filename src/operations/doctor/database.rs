//! Is the database there, ours, of this version, and does it agree on the time?

use chrono::{DateTime, Utc};

use super::Finding;
use crate::calendar::Zone;
use crate::clock::{Clock, MAX_SKEW};
use crate::config::Config;
use crate::pipeline::clock_offset::ClockOffset;
use crate::pipeline::zone_data;
use crate::store::chain;
use crate::store::{MIN_SERVER_VERSION, Result, Store, StoreError};

/// Whether it was reached.
pub(super) async fn examine(
    config: &Config,
    store: &Store,
    clock: &dyn Clock,
    findings: &mut Vec<Finding>,
) -> bool {
    match reachable(store).await {
        Ok(reached) => findings.extend(reached),
        Err(StoreError::TransactionPooling) => {
            findings.push(Finding::failure(
                "database.sessions",
                "a pooler in transaction mode answers: it breaks prepared statements and session settings",
                "set its pool_mode to session, or connect to PostgreSQL itself",
            ));
            return false;
        }
        Err(error) => {
            let advice = if error.is_denied() {
                "check user and password, and pg_hba.conf of the server"
            } else {
                "check host and port, that the server runs, and that a firewall or security group lets this machine in"
            };
            findings.push(Finding::failure("database.reachable", chain(&error), advice));
            return false;
        }
    }
    let migrated = schema(config, store).await;
    let usable = migrated.is_ok();
    findings.push(migrated.unwrap_or_else(|finding| finding));
    for looked in [
        privileges(config, store).await,
        skew(store, clock).await,
        zones(store, clock.now(), usable).await,
        rules(config, store, usable).await,
        backlog(store, clock.now(), usable).await,
        sending(store, usable).await,
    ] {
        findings.push(looked.unwrap_or_else(|error| {
            Finding::failure("database.reachable", chain(&error), "see the database's own log")
        }));
    }
    true
}

async fn reachable(store: &Store) -> Result<[Finding; 3]> {
    store.check_reachable().await?;
    store.check_sessions().await?;
    let server = store.server().await?;
    let reached = if server.major() < MIN_SERVER_VERSION {
        Finding::failure(
            "database.reachable",
            format!("PostgreSQL {}", server.version),
            "bday needs PostgreSQL 15 or newer",
        )
    } else {
        let found = format!("PostgreSQL {}, as {}", server.version, server.user);
        Finding::ok("database.reachable", found)
    };
    let tls = if server.tls {
        Finding::ok("database.tls", "the connection is encrypted")
    } else if server.local {
        Finding::ok("database.tls", "the connection is not encrypted, on this machine")
    } else {
        Finding::warning(
            "database.tls",
            "the connection is not encrypted",
            "outside one machine or a network of your own, set database.tls = \"verify-full\" (or sslmode in the URL)",
        )
    };
    let sessions = Finding::ok("database.sessions", "each connection keeps its session");
    Ok([reached, tls, sessions])
}

async fn schema(config: &Config, store: &Store) -> Result<Finding, Finding> {
    match store.check_schema().await {
        Ok(()) => Ok(Finding::ok("database.schema", "has all migrations of this binary")),
        Err(StoreError::Schema { newest, missing }) if config.database.migrate => Err(Finding::warning(
            "database.schema",
            format!("lacks migration {missing}, which this binary has (its newest is {newest})"),
            "`bday serve` or `bday migrate` brings it up to date",
        )),
        Err(error @ StoreError::Schema { .. }) => Err(Finding::failure(
            "database.schema",
            chain(&error),
            "run `bday migrate`: database.migrate is off, so `bday serve` waits for it",
        )),
        Err(error) => Err(Finding::failure(
            "database.schema",
            chain(&error),
            "which migrations it has cannot be read: see database.privileges, and the database's own log",
        )),
    }
}

async fn privileges(config: &Config, store: &Store) -> Result<Finding> {
    let missing = store.missing_privileges(config.database.migrate).await?;
    Ok(if missing.is_empty() {
        Finding::ok("database.privileges", "the role may do what it needs to")
    } else {
        Finding::failure(
            "database.privileges",
            format!("the role lacks: {}", missing.join(", ")),
            "grant it these, or make it the owner of the database's tables",
        )
    })
}

async fn skew(store: &Store, clock: &dyn Clock) -> Result<Finding> {
    let skew = ClockOffset::measure(clock, store).await?.value();
    let found = format!("this machine and the database differ by {:.3} s", skew.as_seconds_f64().abs());
    Ok(if skew.abs() <= MAX_SKEW / 5 {
        Finding::ok("clock", found)
    } else if skew.abs() <= MAX_SKEW {
        Finding::warning(
            "clock",
            found,
            "set both clocks by NTP; over 5 s, `bday serve` does not start, and ticks no more",
        )
    } else {
        Finding::failure(
            "clock",
            found,
            "set both clocks by NTP: over 5 s, `bday serve` does not start, and ticks no more",
        )
    })
}

/// bday goes by its own zone data. PostgreSQL's is a second opinion.
async fn zones(store: &Store, now: DateTime<Utc>, usable: bool) -> Result<Finding> {
    let version = Zone::tzdb_version();
    if !usable {
        return Ok(Finding::ok("zones", format!("this binary has {version}")));
    }
    let zones = store.zones_in_use().await?.len();
    let differing: Vec<String> = zone_data::differences(store, now)
        .await?
        .into_iter()
        .map(|difference| difference.time_zone)
        .collect();
    let found = format!("this binary has {version}; people live in {zones} zones");
    Ok(if differing.is_empty() {
        Finding::ok("zones", format!("{found}; PostgreSQL agrees on their next year"))
    } else {
        Finding::warning(
            "zones",
            format!("{found}; PostgreSQL differs on {}", differing.join(", ")),
            "one of both has old zone data. bday goes by its own: see that it is the newest release, then update the \
             database server's tzdata",
        )
    })
}

/// Schedulers that plan by different rules undo each other's work with each start.
async fn rules(config: &Config, store: &Store, usable: bool) -> Result<Finding> {
    const CHECK: &str = "planning.rules";
    if !usable {
        return Ok(not_known(CHECK, "by which rules the last scheduler plans"));
    }
    let own = config.schedule().rules();
    Ok(match store.planning_basis().await?.map(|basis| basis.rules) {
        None => Finding::ok(CHECK, format!("no scheduler has planned yet; here: {own}")),
        Some(noted) if noted == own => Finding::ok(CHECK, own),
        Some(noted) => Finding::warning(
            CHECK,
            format!("the scheduler that started last has: {noted}; here: {own}"),
            "give all processes the same [kinds] and plan.leap_day. If the change is wanted: a scheduler that starts with it \
             computes again what is planned",
        ),
    })
}

/// What stands in tables that may not be there.
fn not_known(check: &'static str, what: &str) -> Finding {
    Finding::warning(
        check,
        format!("not known {what}: the schema is not the one of this binary"),
        "put database.schema right, and look again",
    )
}

/// A pause holds until somebody ends it, and somebody may have forgotten.
async fn sending(store: &Store, usable: bool) -> Result<Finding> {
    if !usable {
        return Ok(not_known("sending", "whether it is paused"));
    }
    Ok(match store.pause().await? {
        Some(pause) => {
            let why = match &*pause.reason {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            Finding::warning(
                "sending",
                format!("paused since {}{why}", pause.since.format("%F %T UTC")),
                "`bday resume` goes on; what is over late.max_secs late by then is skipped",
            )
        }
        None => Finding::ok("sending", "not paused"),
    })
}

async fn backlog(store: &Store, now: DateTime<Utc>, usable: bool) -> Result<Finding> {
    if !usable {
        return Ok(not_known("events", "whether something that is due waits"));
    }
    let backlog = store.backlog(now).await?;
    let age = backlog.oldest_at.map_or(0, |at| (now - at).num_seconds());
    let found = format!("{} due events wait, {} are being delivered", backlog.waiting(), backlog.delivering);
    Ok(if age > 150 {
        Finding::warning(
            "events",
            format!("{found}; the oldest has waited for {age} s"),
            "check that a scheduler and a worker run (`bday serve`), that sending is not paused, and that the breaker is closed \
             (/readyz); `bday tick` does one pass now",
        )
    } else {
        Finding::ok("events", found)
    })
}

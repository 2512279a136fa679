//! Checks of the database: connection, schema, privileges, clock, zone data, planning rules and backlog.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Finding, zones};
use crate::calendar::{Zone, format_count, format_duration};
use crate::clock::{Clock, MAX_SKEW};
use crate::config::Config;
use crate::pipeline::clock_offset::ClockOffset;
use crate::store::{MIN_SERVER_VERSION, Result, Store, StoreError, chain};

/// Two missed ticks.
const MAX_WAIT: TimeDelta = TimeDelta::seconds(150);

/// Returns whether the database is reachable.
pub(super) async fn check(
    config: &Config,
    store: &Store,
    clock: &dyn Clock,
    findings: &mut Vec<Finding>,
) -> bool {
    match reachable(store).await {
        Ok(reached) => findings.extend(reached),
        Err(error) => {
            findings.push(unreachable(&error));
            return false;
        }
    }
    let schema = schema(config, store).await;
    let usable = schema.is_ok();
    findings.push(schema.unwrap_or_else(|finding| finding));
    for checked in [
        privileges(config, store).await,
        clock_offset(store, clock).await,
        zone_data(store, clock.now(), usable).await,
        rules(config, store, usable).await,
        backlog(store, clock.now(), usable).await,
        sending(store, usable).await,
    ] {
        findings.push(checked.unwrap_or_else(|error| {
            Finding::failure("database.reachable", chain(&error), "see the log of the database")
        }));
    }
    true
}

fn unreachable(error: &StoreError) -> Finding {
    if matches!(error, StoreError::TransactionPooling) {
        return Finding::failure(
            "database.sessions",
            "a pooler in transaction mode answers: it breaks prepared statements and session settings",
            "set its pool_mode to session, or connect to PostgreSQL directly",
        );
    }
    let advice = if error.is_denied() {
        "check user and password, and pg_hba.conf of the server"
    } else {
        "check host and port, that the server runs, and that firewalls and security groups admit this machine"
    };
    Finding::failure("database.reachable", chain(error), advice)
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
        Finding::ok("database.reachable", format!("PostgreSQL {}, as {}", server.version, server.user))
    };
    let tls = if server.tls {
        Finding::ok("database.tls", "the connection is encrypted")
    } else if server.local {
        Finding::ok("database.tls", "the connection is not encrypted, on this machine")
    } else {
        Finding::warning(
            "database.tls",
            "the connection is not encrypted",
            "unless the network is private, set database.tls = \"verify-full\" (or sslmode in the URL)",
        )
    };
    let sessions = Finding::ok("database.sessions", "connections keep their session");
    Ok([reached, tls, sessions])
}

async fn schema(config: &Config, store: &Store) -> Result<Finding, Finding> {
    match store.check_schema().await {
        Ok(()) => Ok(Finding::ok("database.schema", "has all migrations of this binary")),
        Err(StoreError::Schema { newest, missing }) if config.database.migrate => Err(Finding::warning(
            "database.schema",
            format!("migration {missing} of this binary is missing (the newest is {newest})"),
            "`bday serve` or `bday migrate` updates the schema",
        )),
        Err(error @ StoreError::Schema { .. }) => Err(Finding::failure(
            "database.schema",
            chain(&error),
            "run `bday migrate`: database.migrate is false, so `bday serve` waits for it",
        )),
        Err(error) => Err(Finding::failure(
            "database.schema",
            chain(&error),
            "the migrations cannot be read: see database.privileges and the log of the database",
        )),
    }
}

async fn privileges(config: &Config, store: &Store) -> Result<Finding> {
    let missing = store.missing_privileges(config.database.migrate).await?;
    Ok(if missing.is_empty() {
        Finding::ok("database.privileges", "the role has all it needs")
    } else {
        Finding::failure(
            "database.privileges",
            format!("the role lacks: {}", missing.join(", ")),
            "grant these privileges, or make the role the owner of the tables",
        )
    })
}

async fn clock_offset(store: &Store, clock: &dyn Clock) -> Result<Finding> {
    let offset = ClockOffset::measure(clock, store).await?.value().abs();
    let found = format!("this machine and the database differ by {:.3} s", offset.as_seconds_f64());
    let advice = "synchronise both clocks by NTP: over 5 s, `bday serve` does not start, and stops ticking and leasing";
    Ok(if offset <= MAX_SKEW / 5 {
        Finding::ok("clock", found)
    } else if offset <= MAX_SKEW {
        Finding::warning("clock", found, advice)
    } else {
        Finding::failure("clock", found, advice)
    })
}

async fn zone_data(store: &Store, now: DateTime<Utc>, usable: bool) -> Result<Finding> {
    let version = Zone::tzdb_version();
    if !usable {
        return Ok(Finding::ok("zones", format!("this binary has {version}")));
    }
    let in_use: Vec<String> = store.zones_in_use().await?.into_iter().map(|(name, _)| name).collect();
    let differing = zones::differing(store, now, &in_use).await?;
    let zones = format_count(in_use.len(), "zone is", "zones are");
    let found = format!("this binary has {version}; {zones} in use");
    Ok(if differing.is_empty() {
        Finding::ok("zones", format!("{found}; PostgreSQL agrees on the next year"))
    } else {
        Finding::warning(
            "zones",
            format!("{found}; PostgreSQL differs on {}", differing.join(", ")),
            "bday uses its own zone data: check that this is the newest release of bday, then update tzdata on the database \
             server",
        )
    })
}

/// Schedulers with different rules recompute each other's events with each start.
async fn rules(config: &Config, store: &Store, usable: bool) -> Result<Finding> {
    const CHECK: &str = "planning.rules";
    if !usable {
        return Ok(unknown(CHECK));
    }
    let own = config.schedule().rules();
    Ok(match store.planning_basis().await?.map(|basis| basis.rules) {
        None => Finding::ok(CHECK, format!("no scheduler has planned yet; configured: {own}")),
        Some(last) if last == own => Finding::ok(CHECK, own),
        Some(last) => Finding::warning(
            CHECK,
            format!("the scheduler that started last has: {last}; configured: {own}"),
            "give all processes the same [kinds] and plan.leap_day. If the change is intended, restart the scheduler: it \
             recomputes the planned events",
        ),
    })
}

/// The result of a check that reads tables, which another schema may not have.
fn unknown(check: &'static str) -> Finding {
    Finding::warning(check, "unknown: the schema is not that of this binary", "correct database.schema first")
}

async fn sending(store: &Store, usable: bool) -> Result<Finding> {
    if !usable {
        return Ok(unknown("sending"));
    }
    Ok(match store.pause().await? {
        Some(pause) => {
            let reason = match &*pause.reason {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            Finding::warning(
                "sending",
                format!("paused since {}{reason}", pause.since.format("%F %T UTC")),
                "`bday resume` resumes sending; events that are later than late.max_secs by then are skipped",
            )
        }
        None => Finding::ok("sending", "not paused"),
    })
}

async fn backlog(store: &Store, now: DateTime<Utc>, usable: bool) -> Result<Finding> {
    if !usable {
        return Ok(unknown("events"));
    }
    let backlog = store.backlog(now).await?;
    let age = backlog.oldest_at.map_or(TimeDelta::zero(), |at| now - at);
    let waiting = format_count(backlog.waiting(), "due event waits", "due events wait");
    let found = format!("{waiting}, {} being delivered", format_count(backlog.delivering, "is", "are"));
    Ok(if age > MAX_WAIT {
        Finding::warning(
            "events",
            format!("{found}; the oldest has waited for {}", format_duration(age)),
            "check that a scheduler and a worker run (`bday serve`), that sending is not paused, and that the breaker is closed \
             (/readyz); `bday tick` runs one pass now",
        )
    } else {
        Finding::ok("events", found)
    })
}

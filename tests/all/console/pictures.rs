//! The pictures of the README: `make screenshots` copies them to `docs/pictures`.

use std::path::Path;

use bday::clock::Clock as _;
use bday::model::{EventState, NewUser, Scope};
use bday::store::{EventFilter, EventOrder};
use chrono::{Days, TimeDelta};

use crate::support::browser::Look;
use crate::support::console::{Site, finish};
use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant, person};

const FIRST_NAMES: [&str; 16] = [
    "Ada",
    "Grace",
    "Alan",
    "Katherine",
    "Edsger",
    "Barbara",
    "Donald",
    "Radia",
    "Dennis",
    "Hedy",
    "Ken",
    "Mary",
    "Niklaus",
    "Annie",
    "John",
    "Joan",
];
const LAST_NAMES: [&str; 16] = [
    "Lovelace", "Hopper", "Turing", "Johnson", "Dijkstra", "Liskov", "Knuth", "Perlman", "Ritchie", "Lamarr",
    "Thompson", "Jackson", "Wirth", "Easley", "Backus", "Clarke",
];
const ZONES: [(&str, usize); 22] = [
    ("Pacific/Auckland", 5),
    ("Australia/Sydney", 11),
    ("Asia/Tokyo", 19),
    ("Asia/Shanghai", 16),
    ("Asia/Bangkok", 7),
    ("Asia/Kathmandu", 3),
    ("Asia/Kolkata", 23),
    ("Asia/Dubai", 8),
    ("Africa/Nairobi", 9),
    ("Africa/Cairo", 12),
    ("Europe/Berlin", 31),
    ("Africa/Lagos", 17),
    ("Europe/London", 26),
    ("Atlantic/Azores", 2),
    ("America/Sao_Paulo", 18),
    ("America/Santiago", 6),
    ("America/New_York", 29),
    ("America/Chicago", 21),
    ("America/Denver", 9),
    ("America/Los_Angeles", 24),
    ("America/Anchorage", 2),
    ("Pacific/Honolulu", 3),
];

/// A year of greetings before these, more of them in autumn.
const HISTORY: &str = "
INSERT INTO events (id, user_id, kind, local_year, local_date, due_at, late_from, state, reason, attempts, channel, started_at, status,
                    finished_at, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), 'birthday', extract(year FROM day), day, at, at,
       (CASE WHEN is_dead THEN 'dead' ELSE 'delivered' END)::event_state, CASE WHEN is_dead THEN 'status' END, 1, 'webhook', at, 200, at, at
FROM generate_series(date '2026-01-01', date '2026-11-22', interval '1 day') AS d(day),
     LATERAL (SELECT (day::timestamp + time '09:00') AT TIME ZONE 'UTC' AS at) AS t,
     LATERAL generate_series(1, 40 + (extract(doy FROM day)::int * 37) % 50 + CASE WHEN extract(month FROM day) IN (9, 10) THEN 60 ELSE 0 END) AS n,
     LATERAL (SELECT n = 1 AND extract(doy FROM day)::int % 61 = 7 AS is_dead) AS f";

async fn site() -> Site {
    let world = World::at("2026-11-22T00:00:00Z").await;
    sqlx::query(HISTORY).execute(&world.database.pool().await).await.unwrap();
    let mut n = 0;
    for (zone, people) in ZONES {
        for _ in 0..people {
            n += 1;
            let named = NewUser {
                first_name: FIRST_NAMES[n % 16].to_owned(),
                last_name: LAST_NAMES[(n * 7 + n / 16) % 16].to_owned(),
                ..person(&format!("p-{n:03}"), &format!("19{}-11-24", 50 + n % 50), zone)
            };
            world.write_user(named).await;
        }
    }
    for (ahead, people) in (1..38).zip([3, 5, 2, 8, 6, 4, 1].into_iter().cycle()) {
        for extra in 0..people {
            n += 1;
            let date = instant("2026-11-24T00:00:00Z").date_naive() + Days::new(ahead);
            let named = NewUser {
                first_name: FIRST_NAMES[(n + extra) % 16].to_owned(),
                last_name: LAST_NAMES[(n * 3) % 16].to_owned(),
                ..person(&format!("p-{n:03}"), &format!("1980-{}", date.format("%m-%d")), "Europe/Berlin")
            };
            world.write_user(named).await;
        }
    }
    world.tick().await;
    let filter = EventFilter {
        to: Some(instant("2026-11-24T12:00:00Z")),
        from: Some(instant("2026-11-23T12:00:00Z")),
        ..EventFilter::default()
    };
    let events = world.store.list_events(&filter, EventOrder::Ascending, None, 500).await.unwrap();
    for (n, event) in events.iter().enumerate() {
        if n % 31 == 5 {
            world.receiver.script_for(&event.id.to_string(), [Behaviour::Status(410)]);
        }
    }
    let (mut now, end) = (instant("2026-11-23T18:00:00Z"), instant("2026-11-24T13:12:00Z"));
    while now < end {
        world.clock.set(now);
        world.minute().await;
        now += TimeDelta::minutes(30);
    }
    world.clock.set(end);
    let today = world.clock.now().date_naive();
    while world.store.count_days(end, (today - Days::new(400), today - Days::new(2)), i64::MAX).await.unwrap()
        > 0
    {}
    Site::on(world)
}

#[tokio::test]
async fn the_pictures_of_the_readme_show_a_day_with_late_and_failed_greetings() {
    let site = site().await;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&directory).unwrap();
    let cookie = site.sign_in(Scope::Admin).await;
    let mut page = site.browse_as(&cookie, "/", Look::default()).await;
    let failed = EventFilter { states: vec![EventState::Dead], ..EventFilter::default() };
    let failed =
        site.world.store.list_events(&failed, EventOrder::Descending, None, 1).await.unwrap().remove(0);
    let (event, person) = (format!("/events/{}", failed.id), format!("/people/{}", failed.user_id));
    let message = format!("/message?user={}", failed.user_id);
    for (name, path, look) in [
        ("today", "/", Look::default()),
        ("today-dark", "/", Look { is_dark: true, ..Look::default() }),
        ("today-narrow", "/", Look { is_narrow: true, ..Look::default() }),
        ("calendar", "/calendar", Look::default()),
        ("calendar-dark", "/calendar", Look { is_dark: true, ..Look::default() }),
        ("calendar-narrow", "/calendar", Look { is_narrow: true, ..Look::default() }),
        ("day", "/days/2026-11-24", Look::default()),
        ("events", "/events", Look::default()),
        ("event", &event, Look::default()),
        ("failures", "/failures", Look::default()),
        ("failures-narrow", "/failures", Look { is_narrow: true, ..Look::default() }),
        ("failed-events", "/failures?view=events&reason=gone", Look::default()),
        ("people", "/people", Look::default()),
        ("person", &person, Look::default()),
        ("person-dark-narrow", &person, Look { is_dark: true, is_narrow: true, ..Look::default() }),
        ("message", &message, Look::default()),
        ("import", "/import", Look::default()),
        ("tokens", "/tokens", Look::default()),
        ("audit", "/audit", Look::default()),
    ] {
        page.set_look(look).await;
        page.go(&format!("{}{path}", site.base)).await;
        std::fs::write(directory.join(format!("{name}.png")), page.screenshot().await).unwrap();
    }
    page.go(&site.base).await;
    let figures = page.evaluate("document.getElementById('figures').innerText").await;
    let figures = figures.as_str().unwrap();
    for label in ["Sent late (over 60 s)", "Failed", "Lateness, 99 %"] {
        assert!(figures.contains(label), "{figures}");
    }
    assert!(page.evaluate("document.querySelectorAll('.strip rect.late').length > 0 && document.querySelectorAll('.strip rect.failed').length > 0 && document.querySelectorAll('.strip rect.due').length > 0").await.as_bool().unwrap());
    finish(page, site).await;
}

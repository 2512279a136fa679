//! The forecast, compared with the planner.

use bday::model::NewUser;
use bday::people::forecast::forecast;
use chrono::{DateTime, TimeDelta, Utc};

use crate::support::world::{World, instant, person};

async fn world() -> World {
    let settings =
        [("kinds.work_anniversary.message", "{{ kind }}"), ("kinds.work_anniversary.send_at", "10:00")];
    World::with("2026-12-20T13:00:00Z", &settings).await
}

#[tokio::test]
async fn the_busiest_minute_has_its_zones() {
    let world = world().await;
    for n in 0..5 {
        world.write(&format!("in{n}"), "1990-01-01", "Asia/Kolkata").await;
    }
    world.write("alias", "1991-01-01", "Asia/Calcutta").await;
    world.write("de", "1990-01-01", "Europe/Berlin").await;
    let found = forecast(&world.store, &world.config.schedule(), None, instant("2026-12-20T13:00:00Z"), 366)
        .await
        .unwrap();
    assert_eq!((found.dates, found.due, found.per_day.len()), (7, 7, 366));
    let busiest = &found.busiest_minutes[0];
    assert_eq!((busiest.at, busiest.due), (instant("2027-01-01T03:30:00Z"), 6));
    let zones: Vec<_> = busiest.zones.iter().map(|share| (share.time_zone.name(), share.due)).collect();
    assert_eq!(zones, [("Asia/Kolkata", 5), ("Asia/Calcutta", 1)]);
}

#[tokio::test]
async fn the_forecast_matches_the_events_of_the_planner() {
    let world = world().await;
    let born = ["1990-12-25", "--02-29", "2000-02-29", "1970-01-01", "2027-01-03", "2026-12-31"];
    let zones = ["Pacific/Kiritimati", "Pacific/Pago_Pago", "America/New_York", "Asia/Kathmandu"];
    for (n, (birth_date, zone)) in born.iter().flat_map(|date| zones.map(|zone| (date, zone))).enumerate() {
        let anniversary = if n % 2 == 0 { "2020-01-02" } else { "2027-01-02" };
        let occasions = [("work_anniversary".to_owned(), Some(anniversary.parse().unwrap()))].into();
        let user = NewUser {
            occasions,
            send_at: (n % 3 == 0).then(|| "23:59".parse().unwrap()),
            leap_day: (n % 5 == 0).then_some(bday::calendar::LeapDay::Mar1),
            ..person(&format!("u{n}"), birth_date, zone)
        };
        world.write_user(user).await;
    }
    let now = instant("2026-12-20T13:00:00Z");
    let found = forecast(&world.store, &world.config.schedule(), None, now, 90).await.unwrap();
    // Plans all days of the forecast.
    for day in 0..92 {
        world.clock.set(now + TimeDelta::days(day));
        world.tick().await;
    }
    let due: Vec<DateTime<Utc>> = sqlx::query_scalar("SELECT due_at FROM events")
        .fetch_all(&world.database.pool().await)
        .await
        .unwrap();
    for day in &found.per_day {
        let planned = due.iter().filter(|due| due.date_naive() == day.date).count() as u64;
        assert_eq!(day.due, planned, "{}", day.date);
    }
    assert!(found.due > 30, "{}", found.due);
}

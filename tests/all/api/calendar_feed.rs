//! The content of the calendar feed, read by an independent parser.

use std::collections::BTreeMap;

use axum::body::Body;
use icalendar::{Calendar, CalendarComponent, Component as _, Event};
use serde_json::json;

use super::create;
use crate::support::api::Server;

const FEED: &str = "/calendar.ics";

/// Returns the text and the events of the feed by their date.
async fn feed(server: &Server) -> (String, BTreeMap<String, Event>) {
    let answer = server.get(FEED).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/calendar; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "private, max-age=300");
    let text = answer.text().to_owned();
    let calendar: Calendar = text.parse().unwrap();
    let events = calendar.components.into_iter().map(|component| {
        let CalendarComponent::Event(event) = component else { panic!("{component:?}") };
        let start = event.properties()["DTSTART"].clone();
        assert_eq!(start.params()["VALUE"].value(), "DATE");
        (start.value().to_owned(), event)
    });
    (text, events.collect())
}

fn summaries(events: &BTreeMap<String, Event>) -> Vec<(&str, &str)> {
    events.iter().map(|(date, event)| (date.as_str(), event.get_summary().unwrap())).collect()
}

#[tokio::test]
async fn the_feed_has_an_all_day_event_for_each_date_with_greetings() {
    let server = Server::start().await;
    create(&server, &json!({ "firstName": "Ada", "birthDate": "1815-12-10" })).await;
    create(&server, &json!({ "firstName": "Bob; \\Ross,", "lastName": "Ωmega", "birthDate": "--12-10" }))
        .await;
    let anniversary = json!({ "birthDate": "1990-07-01", "occasions": { "work_anniversary": "2020-12-10" } });
    create(&server, &anniversary).await;
    // The first anniversary is in a year, and this birthday is before the feed begins.
    let first = json!({ "birthDate": "1990-11-23", "occasions": { "work_anniversary": "2026-12-11" } });
    create(&server, &first).await;
    // The first and the last of the 90 days, and the day after.
    for date in ["1990-11-24", "1990-02-21", "1990-02-22"] {
        create(&server, &json!({ "birthDate": date })).await;
    }
    let (text, events) = feed(&server).await;
    assert_eq!(
        summaries(&events),
        [
            ("20261124", "1 birthday"),
            ("20261210", "2 birthdays, 1 work anniversary"),
            ("20270221", "1 birthday")
        ]
    );
    let event = &events["20261210"];
    let names = "Ada Lovelace\nBob; \\Ross, Ωmega\nAda Lovelace (work anniversary)";
    assert_eq!(event.get_description(), Some(names));
    assert_eq!(event.properties()["DTEND"].value(), "20261211");
    assert_eq!(event.properties()["DTSTAMP"].value(), "20261124T120000Z");

    // The grammar that the parser does not check.
    assert!(
        text.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:") && text.ends_with("END:VCALENDAR\r\n")
    );
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
    assert!(text.lines().all(|line| line.len() <= 75), "{text}");
}

/// RFC 5545 section 3.6: a calendar has at least one component.
#[tokio::test]
async fn an_empty_feed_has_a_component_and_no_event() {
    let server = Server::start().await;
    let calendar: Calendar = server.get(FEED).await.text().parse().unwrap();
    let [CalendarComponent::Other(component)] = &calendar.components[..] else { panic!("{calendar:?}") };
    assert_eq!(component.component_kind(), "VTIMEZONE");
}

#[tokio::test]
async fn the_ids_of_the_days_are_stable_and_the_feed_is_reused_for_five_minutes() {
    let server = Server::start().await;
    create(&server, &json!({ "birthDate": "1815-12-10" })).await;
    let ids = |events: &BTreeMap<String, Event>| {
        events.values().map(|event| event.get_uid().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (before, first) = feed(&server).await;
    create(&server, &json!({ "birthDate": "1815-12-10" })).await;
    server.clock.advance(chrono::TimeDelta::seconds(299));
    assert_eq!(feed(&server).await.0, before);
    server.clock.advance(chrono::TimeDelta::seconds(1));
    let (_, second) = feed(&server).await;
    assert_eq!(summaries(&second), [("20261210", "2 birthdays")]);
    assert_eq!(ids(&first), ids(&second));
    assert_eq!(ids(&first).len(), 1);
}

#[tokio::test]
async fn a_day_with_many_users_lists_twenty_names() {
    let server = Server::start().await;
    let lines: Vec<String> = (0..300).map(|n| format!("n{n},,--12-24,UTC\n")).collect();
    let file = format!("first_name,last_name,birth_date,time_zone\n{}", lines.concat());
    let csv = [("content-type", "text/csv")];
    server.call("POST", "/v1/users/import", &csv, Body::from(file)).await.expect(200);
    let (_, events) = feed(&server).await;
    let event = &events["20261224"];
    assert_eq!(event.get_summary(), Some("300 birthdays"));
    let description = event.get_description().unwrap();
    assert_eq!(description.lines().count(), 21, "{description}");
    assert!(description.ends_with("\nand 280 more"), "{description}");
}

#[tokio::test]
async fn a_leap_day_follows_the_rule_of_each_user() {
    let server = Server::at("2027-02-01T12:00:00Z").await;
    for rule in [json!(null), json!("feb28"), json!("mar1"), json!("leap_years_only")] {
        create(&server, &json!({ "birthDate": "2000-02-29", "leapDay": rule })).await;
    }
    let (_, events) = feed(&server).await;
    assert_eq!(summaries(&events), [("20270228", "2 birthdays"), ("20270301", "1 birthday")]);
    server.clock.set(crate::support::world::instant("2028-02-01T12:00:00Z"));
    let (_, events) = feed(&server).await;
    assert_eq!(summaries(&events), [("20280229", "4 birthdays")]);
}

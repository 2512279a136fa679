//! Messages as aiosmtpd receives them and Python's own parser reads them, from the channel and from the whole pipeline.

use bday::clock::heartbeat::Heartbeat;
use bday::clock::{Clock as _, SharedClock, SystemClock};
use bday::config::parts::{self, Parts};
use bday::config::source::Sources;
use bday::model::EventState::{Delivered, Skipped};
use bday::pipeline::channel::{Channel as _, Disposition, Greeting, Message};
use bday::pipeline::trace::Tracer;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

use super::{EVENT, catcher, greeting, mail, options, plain};
use crate::support::api::Server;
use crate::support::world::World;

/// Returns the values of the header.
fn header<'a>(received: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = received["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_message_has_the_headers_and_both_bodies() {
    let (mut server, address) = catcher(json!({})).await;
    let mut options = options();
    options.sender.reply_to = Some("people@example.com".parse().unwrap());
    let mail = mail(options, plain(address));
    let message = Message {
        subject: Some("Alles Gute, Jürgen".to_owned()),
        html: Some("<p>Hey, <b>Jürgen</b> 🎂</p>".to_owned()),
        ..Message::of_text("Hey, Jürgen 🎂\n.\nA line with a dot, and some more text")
    };
    let unsubscribe_url = "https://bday.example.com/x/unsubscribe/token".to_owned();
    let greeting =
        Greeting { unsubscribe_url: Some(unsubscribe_url), ..greeting("juergen@example.org", message) };
    let result = mail.send(&greeting).await;
    assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
    assert_eq!(result.provider_id.as_deref(), Some("2.0.0 Ok: queued as 4F2A"));

    let received = server.next().await;
    assert_eq!(received["defects"], json!([]));
    assert_eq!(
        (&received["from"], &received["to"]),
        (&json!("greetings@example.com"), &json!(["juergen@example.org"]))
    );
    assert_eq!(received["type"], "multipart/alternative");
    assert_eq!(
        received["text"].as_str().unwrap().trim_end(),
        "Hey, Jürgen 🎂\n.\nA line with a dot, and some more text"
    );
    assert_eq!(received["html"].as_str().unwrap().trim_end(), "<p>Hey, <b>Jürgen</b> 🎂</p>");
    for (name, value) in [
        ("From", "Größe & Co <greetings@example.com>"),
        ("To", "juergen@example.org"),
        ("Reply-To", "people@example.com"),
        ("Subject", "Alles Gute, Jürgen"),
        ("Date", "Thu, 10 Dec 2026 09:00:00 +0000"),
        ("Message-ID", &format!("<{EVENT}@example.com>")),
        ("List-Unsubscribe", "<https://bday.example.com/x/unsubscribe/token>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(header(&received, name), [value], "{name}");
    }
    assert!(received["longest"].as_u64().unwrap() <= 998);
}

#[tokio::test]
async fn no_name_breaks_a_header_or_adds_one() {
    let (mut server, address) = catcher(json!({})).await;
    let mail = mail(options(), plain(address));
    let long = "x".repeat(200);
    let wide = "ü".repeat(200);
    for (subject, expected) in [
        ("Hey, Ada\r\nBcc: bob@example.org\r\n\r\nbody", "Hey, Ada Bcc: bob@example.org body"),
        ("Hey,\tAda\0\u{7f}", "Hey, Ada"),
        ("\n", ""),
        ("Hey, عائشة 👩🏽‍🚀", "Hey, عائشة 👩🏽‍🚀"),
        ("=?utf-8?q?=42cc?= Ada", "=?utf-8?q?=42cc?= Ada"),
        (
            "=?utf-8?b?QWRh?= und noch viel mehr Größe in einem langen Betreff, gefaltet",
            "=?utf-8?b?QWRh?= und noch viel mehr Größe in einem langen Betreff, gefaltet",
        ),
        ("\"Ada\" <bob@example.org>, x", "\"Ada\" <bob@example.org>, x"),
        (&long, &long),
        (&wide, &wide),
        (&long.repeat(5), &format!("{}…", "x".repeat(240))),
    ] {
        let message = Message { subject: Some(subject.to_owned()), ..Message::of_text("Hey") };
        let result = mail.send(&greeting("ada@example.org", message)).await;
        assert_eq!(result.disposition, Disposition::Delivered, "{subject:?}: {result:?}");
        let received = server.next().await;
        assert_eq!(header(&received, "Subject"), [expected], "{subject:?}");
        assert_eq!(received["defects"], json!([]), "{subject:?}");
        assert_eq!(received["to"], json!(["ada@example.org"]));
        assert!(received["longest"].as_u64().unwrap() <= 998);
        let names: Vec<&str> = received["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| header[0].as_str().unwrap())
            .collect();
        let expected =
            ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];
        let more: Vec<&&str> = names.iter().filter(|name| !expected.contains(*name)).collect();
        assert!(more.iter().all(|name| **name == "Content-Transfer-Encoding"), "{subject:?}: {names:?}");
        assert_eq!(received["text"].as_str().unwrap().trim_end(), "Hey");
    }
    // Without a subject, it is the first line of the text.
    mail.send(&greeting("ada@example.org", Message::of_text("\nHey, Ada\nit's your birthday"))).await;
    assert_eq!(header(&server.next().await, "Subject"), ["Hey, Ada"]);
}

#[tokio::test]
async fn user_and_password_are_sent_decoded_and_wrong_ones_end_no_event() {
    let (mut server, address) = catcher(json!({ "user": "u@example.com", "password": "p/w:%+é" })).await;
    let url = |login: &str| {
        let url =
            bday::pipeline::channel::mail::MailUrl::parse(&format!("smtp://{login}@{address}")).unwrap();
        super::following(options(), tokio::sync::watch::channel(url).1)
    };
    let message = greeting("ada@example.org", Message::of_text("Hey"));
    let result = url("u%40example.com:p%2Fw:%25+%C3%A9").send(&message).await;
    assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
    assert_eq!(server.next().await["authenticated"], true);
    let result = url("u%40example.com:hunter2").send(&message).await;
    assert_eq!((result.disposition, result.status), (Disposition::Defer(None), Some(535)), "{result:?}");
    let result = mail(options(), plain(address)).send(&message).await;
    assert_eq!((result.disposition, result.status), (Disposition::Defer(None), Some(530)), "{result:?}");
}

async fn give_address(world: &World, user: Uuid, address: &str) {
    let hash = world.store.installation_key().await.unwrap().address_hash(address);
    sqlx::query(
        "INSERT INTO contact_points (user_id, type, address, address_hash) VALUES ($1, 'email', $2, $3)",
    )
    .bind(user)
    .bind(address)
    .bind(hash.as_slice())
    .execute(&world.database.pool().await)
    .await
    .unwrap();
}

/// Ticks, and delivers what is due by the configured channels.
async fn minute(world: &World) {
    world.tick().await;
    let clock = Arc::clone(&world.clock) as SharedClock;
    let sources = Sources::new(Arc::new(SystemClock));
    let of = Parts { config: &world.config, sources: &sources, store: &world.store, clock: &clock };
    let (channels, _) = parts::channels(&of).await.unwrap();
    let (store, queue) = (world.store.clone(), Arc::clone(&world.queue));
    let heartbeat = Heartbeat::new(Arc::clone(&clock));
    let tracer = Tracer::default();
    let pool = parts::pool(&world.config, store, queue, channels, clock, heartbeat, tracer).unwrap();
    pool.run_once().await.unwrap();
}

#[tokio::test]
async fn greetings_arrive_by_mail_until_the_person_unsubscribes() {
    let (mut server, address) = catcher(json!({})).await;
    let settings = [
        ("kinds.birthday.channels", "mail"),
        ("channels.mail.url", &format!("smtp://{address}")),
        ("channels.mail.from", "bday <greetings@example.com>"),
        ("http.public_url", "https://bday.example.com/x/"),
    ];
    let world = World::with("2026-05-01T00:00:00Z", &settings).await;
    let [ada, bob, _eve] = [
        world.write("Lovelace", "1990-05-01", "UTC").await,
        world.write("Bob", "1990-05-01", "UTC").await,
        world.write("without an address", "1990-05-01", "UTC").await,
    ];
    give_address(&world, ada, "ada@example.org").await;
    give_address(&world, bob, "bob@example.org").await;
    world.set("2026-05-01T09:00:00Z");
    minute(&world).await;
    let mut received = [server.next().await, server.next().await];
    received.sort_by_key(|message| message["to"][0].to_string());
    assert_eq!(received[0]["to"], json!(["ada@example.org"]));
    assert!(received[0]["text"].as_str().unwrap().starts_with("Hey, Ada Lovelace it's your birthday"));
    let event = world.event_of(ada).await;
    assert_eq!(header(&received[0], "Message-ID"), [format!("<{event}@example.com>")]);
    let attempts = world.store.attempts(event).await.unwrap();
    assert_eq!(attempts[0].provider_id.as_deref(), Some("2.0.0 Ok: queued as 4F2A"));
    assert_eq!((world.count(Delivered).await, world.count(Skipped).await), (2, 1));

    // The link of the message ends the greetings to Ada, and not those to Bob.
    let link = header(&received[0], "List-Unsubscribe")[0];
    let path = link.strip_prefix("<https://bday.example.com/x").unwrap().strip_suffix('>').unwrap();
    let answer = Server::on(&world).call("POST", path, &[], "List-Unsubscribe=One-Click".into()).await;
    assert_eq!(answer.status, 200);
    world.set("2027-04-30T00:00:00Z");
    minute(&world).await;
    world.set("2027-05-01T09:00:00Z");
    minute(&world).await;
    assert_eq!(server.next().await["to"], json!(["bob@example.org"]));
    assert_eq!((world.count(Delivered).await, world.count(Skipped).await), (3, 3), "{}", world.clock.now());
}

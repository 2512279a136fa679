//! `bday demo` as a process: its deliveries, its report and its cleanup.

use std::fs::Permissions;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bday::calendar::Zone;
use chrono::{DateTime, FixedOffset};
use serde_json::Value;

use crate::support::process::{Bday, Running};
use crate::support::wait::eventually;

/// The parent folder of the demo's database.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("bday-demo-test-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir(&dir).unwrap();
        // If root runs the demo, the server runs as another user, which needs access.
        std::fs::set_permissions(&dir, Permissions::from_mode(0o1777)).unwrap();
        Self(dir)
    }

    fn demo(&self, arguments: &[&str]) -> Bday {
        let common = ["demo", "--people", "9", "--listen", "127.0.0.1:0"];
        Bday::new(common.iter().chain(arguments)).env("TMPDIR", &self.0)
    }

    /// Returns the command lines that contain this folder, and the entries of the folder.
    fn remains(&self) -> Vec<String> {
        let processes = Path::new("/proc").read_dir().unwrap().flatten();
        let commands = processes.filter_map(|it| std::fs::read_to_string(it.path().join("cmdline")).ok());
        let running = commands.filter(|command| command.contains(self.0.to_str().unwrap()));
        let files = self.0.read_dir().unwrap().flatten().map(|it| it.path().display().to_string());
        running.chain(files).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Returns the addresses of the inbox and the daemon.
fn addresses<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<SocketAddr> {
    let after_scheme = lines.into_iter().filter_map(|line| Some(line.split_once(" http://")?.1));
    after_scheme.map(|it| it.split('/').next().unwrap().parse().unwrap()).take(2).collect()
}

fn is_greeting(line: &str) -> bool {
    line.ends_with("was due before the start")
}

async fn greeted(demo: &Running) -> Vec<String> {
    eventually("four greetings", async || {
        let lines = demo.lines();
        (lines.iter().filter(|line| is_greeting(line)).count() == 4).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn a_demo_that_runs_once_delivers_due_events_and_succeeds() {
    let home = Home::new();
    let done = home.demo(&["--once", "--minutes", "0"]).finish().await;
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    assert_eq!(done.stderr, "", "no warnings, no progress without a terminal");
    assert!(!done.stdout.contains('\x1b'), "{}", done.stdout);

    let lines: Vec<&str> = done.stdout.lines().collect();
    assert!(lines[0].starts_with("Inbox    http://127.0.0.1:"), "{}", done.stdout);
    let imported = "Imported 9 users in 9 time zones, 4 with a birthday today.";
    assert!(lines.contains(&imported), "{}", done.stdout);
    let greetings: Vec<_> = lines.iter().filter(|line| is_greeting(line)).collect();
    assert_eq!(greetings.len(), 4, "{}", done.stdout);
    let mut channels = Vec::new();
    for greeting in greetings {
        let cells: Vec<&str> = greeting.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let [channel, _name, zone, local, utc, lateness, _] = cells[..] else { panic!("{greeting}") };
        channels.push(channel);
        Zone::parse(zone).unwrap();
        let shown: DateTime<FixedOffset> = DateTime::parse_from_str(local, "%Y-%m-%d %H:%M %:z").unwrap();
        assert_eq!(shown.to_utc().format("%H:%M:%S").to_string(), utc, "{greeting}");
        assert!(lateness.starts_with('+'), "{greeting}");
    }
    channels.sort_unstable();
    assert_eq!(channels, ["mail", "mail", "slack", "webhook"]);
    let summary = "accepted 4 of 4, each once: 1 by webhook, 2 by mail, 1 by slack";
    assert!(lines.contains(&summary), "{}", done.stdout);

    assert_eq!(home.remains(), [""; 0]);
    for address in addresses(lines) {
        assert!(TcpStream::connect(address).is_err(), "{address} still listens");
    }
}

#[tokio::test]
async fn a_demo_runs_until_ctrl_c_and_stops_its_processes() {
    let home = Home::new();
    let mut demo = home.demo(&["--minutes", "0"]).start();
    let lines = greeted(&demo).await;
    let [inbox, daemon] = addresses(lines.iter().map(String::as_str))[..] else {
        panic!("{lines:#?}");
    };
    let client = reqwest::Client::new();
    let arrivals = client.get(format!("http://{inbox}/arrivals")).send().await.unwrap();
    let arrivals: Vec<Value> = arrivals.error_for_status().unwrap().json().await.unwrap();
    let of = |channel: &str| arrivals.iter().find(|arrival| arrival["channel"] == channel).unwrap();
    for channel in ["mail", "slack", "webhook"] {
        let message = of(channel)["message"].as_str().unwrap();
        assert!(
            message.starts_with("Hey, ") && message.ends_with("it's your birthday"),
            "{channel}: {message}"
        );
    }
    let mail = of("mail");
    assert!(mail["subject"].as_str().unwrap().starts_with("Happy birthday, "), "{mail}");
    let html = client.get(format!("http://{inbox}/arrivals/{}/html", mail["id"])).send().await.unwrap();
    assert!(html.headers()["content-security-policy"].to_str().unwrap().ends_with("sandbox"));
    assert!(html.text().await.unwrap().contains("Happy birthday, "));
    let url = format!("http://{daemon}/readyz");
    eventually("the daemon to be ready", async || {
        client.get(&url).send().await.ok()?.error_for_status().ok().map(drop)
    })
    .await;
    assert_ne!(home.remains(), [""; 0]);

    demo.interrupt();
    assert!(demo.exit().await.success(), "{:#?}", demo.lines());
    assert_eq!(demo.lines().last().unwrap(), "Stopped; nothing is left running.");
    assert_eq!(home.remains(), [""; 0]);
}

#[tokio::test]
async fn a_demo_terminated_during_its_start_cleans_up() {
    let home = Home::new();
    let mut demo = home.demo(&["--minutes", "0"]).start();
    eventually("the first line", async || (!demo.lines().is_empty()).then_some(())).await;
    demo.terminate();
    assert!(demo.exit().await.success(), "{:#?}", demo.lines());
    assert_eq!(home.remains(), [""; 0]);
}

#[tokio::test]
async fn a_demo_that_runs_once_fails_if_it_is_interrupted() {
    let home = Home::new();
    let mut demo = home.demo(&["--once", "--minutes", "2"]).start();
    greeted(&demo).await;
    demo.interrupt();
    assert_eq!(demo.exit().await.code(), Some(1));
    let lines = demo.lines();
    assert!(lines.iter().any(|line| line.starts_with("accepted ")), "{lines:#?}");
    // The ninth greeting is due in two minutes.
    assert!(lines.iter().any(|line| line.starts_with("missing: ")), "{lines:#?}");
    assert_eq!(home.remains(), [""; 0]);
}

#[tokio::test]
async fn a_killed_demo_leaves_no_process_running() {
    let home = Home::new();
    let mut demo = home.demo(&["--minutes", "0"]).start();
    greeted(&demo).await;
    demo.kill();
    demo.exit().await;
    eventually("the database to be removed", async || home.remains().is_empty().then_some(())).await;
}

#[tokio::test]
async fn without_a_postgresql_server_the_error_names_bday_pg_bin() {
    let home = Home::new();
    let done = home.demo(&["--once"]).env("BDAY_PG_BIN", "/nowhere").finish().await;
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("BDAY_PG_BIN"), "{}", done.stderr);
}

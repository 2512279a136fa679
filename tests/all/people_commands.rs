//! `bday user` and `bday event` as processes.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::database::Database;
use crate::support::process::{Bday, Finished};
use crate::support::wait::within;

struct Shell(Database);

impl Shell {
    async fn run(&self, arguments: &[&str]) -> Finished {
        Bday::new(arguments)
            .env("BDAY__DATABASE__URL", self.0.url())
            .env("BDAY__QUEUE__KIND", "postgres")
            .env("BDAY__WEBHOOK__URL", "http://127.0.0.1:9/")
            .env("BDAY__KINDS__WORK_ANNIVERSARY__MESSAGE", "{{ years }} years, {{ full_name }}")
            .env("BDAY__KINDS__WORK_ANNIVERSARY__SEND_AT", "10:00")
            .finish()
            .await
    }

    /// Runs a command that must succeed; returns its output.
    async fn ok(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments).await;
        assert!(finished.status.success(), "{arguments:?}: {finished:?}");
        finished.stdout
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments).await).unwrap()
    }

    /// Runs a command that must fail with this exit code; returns its standard error.
    async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let finished = self.run(arguments).await;
        assert_eq!(finished.status.code(), Some(code), "{arguments:?}: {finished:?}");
        finished.stderr
    }
}

const ADA: [&str; 9] = [
    "--first-name",
    "Ada",
    "--last-name",
    "Lovelace",
    "--birth-date",
    "1815-12-10",
    "--time-zone",
    "Europe/London",
    "--external-id=hr-1",
];

#[tokio::test]
async fn a_user_can_be_added_shown_updated_listed_and_deleted() {
    let shell = Shell(Database::new().await);
    let add = [&["user", "add", "--json", "--occasion", "work_anniversary=2019-05-02"], &ADA[..]].concat();
    let added = shell.json(&add).await;
    assert_eq!(added["result"], "created");
    let id = added["id"].as_str().unwrap();
    for name in ["hr-1", id] {
        let shown = shell.json(&["user", "show", name, "--json"]).await;
        assert_eq!((&shown["id"], &shown["lastName"]), (&added["id"], &Value::from("Lovelace")));
    }
    let table = shell.ok(&["user", "show", "hr-1"]).await;
    for part in ["Europe/London", "next birthday", "next work_anniversary"] {
        assert!(table.contains(part), "{table}");
    }

    let changed = shell
        .json(&["user", "update", "hr-1", "--last-name", "King", "--occasion", "work_anniversary=", "--json"])
        .await;
    assert_eq!((&changed["lastName"], &changed["occasions"]), (&Value::from("King"), &serde_json::json!({})));
    let table = shell.ok(&["user", "list", "--search", "king"]).await;
    assert!(table.contains("Ada King") && table.starts_with("ID"), "{table}");
    assert_eq!(shell.ok(&["user", "list", "--time-zone", "UTC", "--json"]).await, "");
    let said = shell.ok(&["user", "update", "hr-1", "--last-name", ""]).await;
    assert!(said.ends_with(": Ada, 1815-12-10, Europe/London\n"), "{said}");

    assert_eq!(shell.ok(&["user", "delete", "hr-1"]).await, format!("deleted {id}\n"));
    for command in ["delete", "show", "update"] {
        let error = shell.fails(1, &["user", command, "hr-1"]).await;
        assert!(error.contains("no user has the id or external id \"hr-1\""), "{error}");
    }
}

#[tokio::test]
async fn a_user_can_have_addresses_and_opt_out_of_a_channel() {
    let shell = Shell(Database::new().await);
    let contacts = ["--email", "ada@example.org", "--phone", "+44 20 7946 0958", "--locale", "en-gb"];
    shell.ok(&[&["user", "add"], &ADA[..], &contacts].concat()).await;
    let shown = shell.ok(&["user", "show", "hr-1"]).await;
    for part in ["en-GB", "ada@example.org, active", "+442079460958, active"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let said = shell.ok(&["user", "contact", "hr-1", "sms", "--opt-out"]).await;
    assert!(said.starts_with("sms: +442079460958, opted_out since "), "{said}");
    let kind = ["--opt-out", "--kind", "work_anniversary"];
    let said = shell.ok(&[&["user", "contact", "hr-1", "mail"], &kind[..]].concat()).await;
    assert_eq!(said, "mail: ada@example.org, active, opted out of work_anniversary\n");
    assert!(shell.ok(&["user", "show", "hr-1"]).await.contains(said.trim_start_matches("mail: ").trim_end()));
    let shown = shell.json(&["user", "show", "hr-1", "--json"]).await;
    assert_eq!(
        (&shown["contacts"][2]["channel"], &shown["contacts"][2]["status"]),
        (&"sms".into(), &"opted_out".into())
    );
    let json = shell.json(&["user", "contact", "hr-1", "sms", "--opt-in", "--json"]).await;
    assert_eq!((&json["status"], &json["since"]), (&"active".into(), &Value::Null));

    let update = ["user", "update", "hr-1", "--email=", "--slack-user-id", "U012AB3CD", "--json"];
    let changed = shell.json(&update).await;
    assert_eq!((&changed["email"], &changed["slackUserId"]), (&Value::Null, &"U012AB3CD".into()));
    let error = shell.fails(1, &["user", "contact", "hr-1", "mail", "--opt-in"]).await;
    assert!(error.contains("the user \"hr-1\" has no address for the channel mail"), "{error}");
    let error = shell.fails(1, &["user", "contact", "hr-1", "sms", "--opt-in", "--kind", "name_day"]).await;
    assert!(error.contains("unknown kind \"name_day\": expected birthday or work_anniversary"), "{error}");
    shell.fails(2, &["user", "contact", "hr-1", "sms"]).await;
    shell.fails(2, &["user", "contact", "hr-1", "pigeon", "--opt-out"]).await;
    let wrong =
        ["user", "update", "hr-1", "--email", "ada", "--phone", "1", "--slack-user-id", "1", "--locale", "1"];
    let error = shell.fails(2, &wrong).await;
    for option in ["--email ", "--phone ", "--slack-user-id ", "--locale "] {
        assert!(error.contains(option), "{error}");
    }
}

#[tokio::test]
async fn all_invalid_options_are_reported_together() {
    let shell = Shell(Database::new().await);
    let error = shell
        .fails(
            2,
            &[
                "user",
                "add",
                "--first-name",
                "Ada",
                "--birth-date",
                "1990-02-30",
                "--time-zone",
                "Mars",
                "--occasion",
                "wedding=2019-05-02",
            ],
        )
        .await;
    for part in ["--birth-date ", "--time-zone ", "--occasion wedding: unknown kind"] {
        assert!(error.contains(part), "{error}");
    }
    shell.ok(&[&["user", "add"], &ADA[..]].concat()).await;
    let error = shell.fails(2, &["user", "update", "hr-1", "--first-name", ""]).await;
    assert!(error.contains("--first-name is missing"), "{error}");
    let added = shell
        .json(&[
            "user",
            "add",
            "--json",
            "--first-name",
            "Eve",
            "--birth-date",
            "--01-01",
            "--time-zone",
            "UTC",
        ])
        .await;
    let eve = added["id"].as_str().unwrap();
    let error = shell.fails(1, &["user", "update", eve, "--external-id", "hr-1"]).await;
    assert!(error.contains("--external-id belongs to another user"), "{error}");
}

#[tokio::test]
async fn users_can_be_exported_and_imported_in_both_formats() {
    let shell = Shell(Database::new().await);
    shell.ok(&[&["user", "add", "--occasion", "work_anniversary=--02-29"], &ADA[..]].concat()).await;
    let folder = std::env::temp_dir().join(format!("bday-export-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for format in ["csv", "ndjson"] {
        let path = folder.join(format!("people.{format}"));
        let path = path.to_str().unwrap();
        shell.ok(&["user", "export", "--format", format, "--output", path]).await;
        let report = shell.json(&["user", "import", path, "--json"]).await;
        assert_eq!((&report["unchanged"], &report["failed"]), (&Value::from(1), &Value::from(0)), "{format}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let csv = shell.ok(&["user", "export"]).await;
    let ada = shell.json(&["user", "show", "hr-1", "--json"]).await;
    let id = ada["id"].as_str().unwrap();
    assert_eq!(
        csv,
        format!(
            "id,first_name,last_name,birth_date,time_zone,send_at,leap_day,external_id,email,phone,slack_user_id,locale,\
             work_anniversary\n{id},Ada,Lovelace,1815-12-10,Europe/London,,,hr-1,,,,,--02-29\n"
        )
    );
}

#[tokio::test]
async fn vcards_can_be_checked_imported_and_corrected() {
    let shell = Shell(Database::new().await);
    let folder = std::env::temp_dir().join(format!("bday-vcards-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (contacts, rejects) = (path("contacts.vcf"), path("invalid.vcf"));
    let bad = "BEGIN:VCARD\nFN:Eve\nBDAY:circa 1990\nEND:VCARD\n";
    let ada = "BEGIN:VCARD\nFN:Ada Lovelace\nBDAY:18151210\nUID:hr-1\nEND:VCARD\n";
    std::fs::write(&contacts, format!("{ada}{bad}")).unwrap();
    let import = ["user", "import", &contacts, "--time-zone", "Europe/London"];
    let said = shell.fails(1, &[&import[..], &["--dry-run", "--rejects", &rejects]].concat()).await;
    assert!(said.contains("line 6: BDAY: invalid date \"circa 1990\""), "{said}");
    assert_eq!(std::fs::read_to_string(&rejects).unwrap(), bad);
    assert_eq!(shell.ok(&["user", "list", "--json"]).await, "");

    let finished = shell.run(&[&import[..], &["--rejects", &rejects]].concat()).await;
    assert_eq!(finished.stdout, "created 1, updated 0, unchanged 0, failed 1\n", "{finished:?}");
    std::fs::write(&rejects, bad.replace("circa 1990", "--0101")).unwrap();
    let import = ["user", "import", &rejects, "--format", "vcard", "--time-zone", "UTC", "--dry-run"];
    let said = shell.ok(&import).await;
    assert_eq!(said, "dry run, nothing written: created 1, updated 0, unchanged 0, failed 0\n");
    assert_eq!(shell.json(&["user", "show", "hr-1", "--json"]).await["firstName"], "Ada Lovelace");

    let error = shell.fails(1, &["user", "import", &contacts, "--rejects", &contacts]).await;
    assert!(error.contains("is the file to import"), "{error}");
    let csv = path("users.csv");
    std::fs::write(&csv, "first_name\n").unwrap();
    let error = shell.fails(1, &["user", "import", &csv, "--time-zone", "UTC"]).await;
    assert!(error.contains("--time-zone is for vCards"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn events_can_be_listed_and_shown() {
    let shell = Shell(Database::new().await);
    shell.ok(&["migrate"]).await;
    shell.ok(&["tick"]).await;
    // A user added on the day itself is planned immediately.
    let today = shell.0.store().clock().await.unwrap().format("--%m-%d").to_string();
    let birth_date = format!("--birth-date={today}");
    shell
        .ok(&[
            "user",
            "add",
            "--first-name",
            "Ada",
            &birth_date,
            "--time-zone",
            "UTC",
            "--send-at",
            "23:59",
            "--external-id=hr-7",
        ])
        .await;
    let event: Value = shell.json(&["event", "list", "--json"]).await;
    assert_eq!((&event["state"], &event["attemptCount"]), (&Value::from("pending"), &Value::from(0)));
    let id = event["id"].as_str().unwrap();
    let table = shell.ok(&["event", "list", "--state", "pending", "--from", "2020-01-01"]).await;
    assert!(table.contains(id), "{table}");
    assert_eq!(shell.ok(&["event", "list", "--state", "dead", "--json"]).await, "");
    let of_user = ["event", "list", "--json", "--user"];
    for user in ["hr-7", event["userId"].as_str().unwrap()] {
        assert_eq!(shell.json(&[&of_user[..], &[user]].concat()).await["id"], id);
    }
    let nobody = [&of_user[..], &["hr-8"]].concat();
    assert!(shell.fails(1, &nobody).await.contains("hr-8"));
    let shown = shell.json(&["event", "show", id, "--json"]).await;
    assert_eq!((&shown["id"], &shown["attempts"]), (&event["id"], &serde_json::json!([])));
    assert!(shell.ok(&["event", "show", id]).await.contains("birthday"));
    let unknown = "0198f0c0-0000-7000-8000-000000000000";
    assert!(shell.fails(1, &["event", "show", unknown]).await.contains(unknown));
    assert!(shell.fails(2, &["event", "show", "hr-7"]).await.contains("expected the id of an event"));
    assert!(shell.fails(2, &["event", "list", "--state", "lost"]).await.contains("skipped"));
}

#[tokio::test]
async fn a_list_of_all_users_stops_when_its_reader_closes_the_pipe() {
    let shell = Shell(Database::new().await);
    let lines: Vec<String> = (0..3000).map(|n| format!("n{n},,1990-01-01,UTC\n")).collect();
    let imported = Bday::new(["user", "import", "-"])
        .env("BDAY__DATABASE__URL", shell.0.url())
        .finish_with(format!("first_name,last_name,birth_date,time_zone\n{}", lines.concat()).as_bytes())
        .await;
    assert!(imported.status.success(), "{imported:?}");
    let mut listing = Command::new(env!("CARGO_BIN_EXE_bday"))
        .args(["user", "list", "--limit", "0", "--json"])
        .env("BDAY__DATABASE__URL", shell.0.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(listing.stdout.take().unwrap());
    let mut first = String::new();
    within("the first line", reader.read_line(&mut first)).await.unwrap();
    assert!(first.starts_with("{\"id\":"), "{first}");
    // The first page does not fit into the pipe, so the second is not queried yet. The lock would block that query.
    let mut transaction = shell.0.pool().await.begin().await.unwrap();
    sqlx::query("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    drop(reader);
    let ended = within("the list to end", listing.wait_with_output()).await.unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn field_names_in_a_file_cannot_control_the_terminal() {
    let shell = Shell(Database::new().await);
    let people = br#"{"firstName":"Ada","birthDate":"--12-10","timeZone":"UTC","\u001b[2J":"x"}
{"firstName":"Ada","birthDate":"--12-10","timeZone":"UTC","occasions":{"\u001b]0;x\u0007":1,"\u001b[8m":"1990-01-01"}}
"#;
    let imported = Bday::new(["user", "import", "-", "--format", "ndjson"])
        .env("BDAY__DATABASE__URL", shell.0.url())
        .env("BDAY__QUEUE__KIND", "postgres")
        .finish_with(people)
        .await;
    assert_eq!(imported.status.code(), Some(1), "{imported:?}");
    assert!(!imported.stderr.contains(['\x1b', '\x07']), "{imported:?}");
    assert!(imported.stderr.contains("line 1: \\u{1b}[2J: unknown field"), "{imported:?}");
    assert!(imported.stderr.contains("occasions.\\u{1b}]0;x\\u{7}"), "{imported:?}");
}

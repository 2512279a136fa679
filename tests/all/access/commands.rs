//! `bday token`, with a daemon that requires tokens.

use serde_json::Value;

use crate::support::database::Database;
use crate::support::process::{Bday, Finished, json_lines};
use crate::support::wait::eventually;

struct Shell(Database);

impl Shell {
    async fn new() -> Self {
        Self(Database::new().await)
    }

    fn bday(&self, arguments: &[&str]) -> Bday {
        Bday::new(arguments)
            .env("BDAY__DATABASE__URL", self.0.url())
            .env("BDAY__QUEUE__KIND", "postgres")
            .env("BDAY__WEBHOOK__URL", "http://127.0.0.1:9/")
            .env("BDAY__HTTP__AUTH", "required")
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        self.bday(arguments).finish().await
    }

    async fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.succeeded()
    }

    /// Returns the JSON objects in the output, one for each line.
    async fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        json_lines(&self.ok(arguments).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_accepts_a_token_until_it_is_revoked() {
    let shell = Shell::new().await;
    let daemon = shell.bday(&["serve", "--role", "api"]).start();
    let address = daemon.ready().await;
    let warning = daemon
        .log("the warning", |line| {
            let text = line["message"].as_str()?;
            text.contains("there is no token").then(|| line["level"].clone())
        })
        .await;
    assert_eq!(warning, "WARN");

    let client = reqwest::Client::new();
    let get = async |path: &str, token: &str| {
        let request = client.get(format!("http://{address}{path}")).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let token = shell.ok(&["token", "create", "hr", "--scope", "write"]).await;
    let token = token.trim_end();
    assert_eq!(token.lines().count(), 1, "nothing else on standard output");
    assert_eq!((get("/v1/users", token).await, get("/metrics", token).await), (200, 200));
    let body =
        serde_json::json!({ "firstName": "Ada", "birthDate": "1815-12-10", "timeZone": "Europe/London" });
    let url = format!("http://{address}/v1/users");
    let created = client.post(&url).bearer_auth(token).json(&body).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let logged = daemon.logged("api write").await;
    assert_eq!((&logged["token"], &logged["status"]), (&"hr".into(), &201.into()));
    assert_eq!(logged["request_id"].as_str(), created.headers()["x-request-id"].to_str().ok());

    shell.ok(&["token", "revoke", "hr"]).await;
    eventually("the revocation", async || (get("/v1/users", token).await == 401).then_some(())).await;
    let said = daemon.lines().join("\n");
    assert!(!said.contains(&token[5..]) && !said.contains("Ada"), "{said}");

    let audit = shell.lines(&["token", "audit", "--json"]).await;
    let row = &audit[0];
    assert_eq!(
        (&row["tokenName"], &row["path"], &row["status"]),
        (&"hr".into(), &"/v1/users".into(), &201.into())
    );
    let table = shell.ok(&["token", "audit", "--token", "hr"]).await;
    assert!(table.contains("POST") && table.contains("127.0.0.1"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_listed_without_its_secret() {
    let shell = Shell::new().await;
    let made = shell.run(&["token", "create", "hr", "--scope", "read", "--expires-in-days", "30"]).await;
    let token = made.stdout.trim_end();
    assert!(token.starts_with("bday_") && !made.stderr.contains(token), "{made:?}");
    let list = shell.lines(&["token", "list", "--json"]).await;
    assert_eq!((list.len(), &list[0]["name"], &list[0]["state"]), (1, &"hr".into(), &"live".into()));
    assert!(list[0]["expiresAt"].is_string());
    let table = shell.ok(&["token", "list"]).await;
    assert!(!format!("{list:?}{table}").contains(&token[5..]), "{table}");
    assert_eq!(table.lines().count(), 2);

    let again = shell.run(&["token", "create", "hr", "--scope", "admin"]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stderr.contains("bday token revoke hr"), "{again:?}");
    shell.ok(&["token", "revoke", "hr"]).await;
    assert_eq!(shell.run(&["token", "revoke", "hr"]).await.status.code(), Some(1));
    shell.ok(&["token", "create", "hr", "--scope", "admin"]).await;
    let all = shell.lines(&["token", "list", "--all", "--json"]).await;
    let states: Vec<&Value> = all.iter().map(|token| &token["state"]).collect();
    assert_eq!(states, ["live", "revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_generated_elsewhere_can_be_registered_by_its_hash() {
    let shell = Shell::new().await;
    let made = Bday::new(["token", "generate", "--json"]).finish().await;
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let (token, hash) = (made["token"].as_str().unwrap(), made["sha256"].as_str().unwrap());
    let registered = shell.run(&["token", "create", "hr", "--scope", "read", "--sha256", hash]).await;
    assert!(registered.status.success() && registered.stdout.is_empty(), "{registered:?}");
    let daemon = shell.bday(&["serve", "--role", "api"]).start();
    let address = daemon.ready().await;
    let request = reqwest::Client::new().get(format!("http://{address}/v1/users"));
    assert_eq!(request.bearer_auth(token).send().await.unwrap().status(), 200);
    let again = shell.run(&["token", "create", "hr2", "--scope", "read", "--sha256", hash]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_token_command_name_the_valid_values() {
    let shell = Shell::new().await;
    for (arguments, said) in [
        (&["create", "no blanks", "--scope", "read"][..], "letters, digits"),
        (&["create", "hr"], "--scope"),
        (&["create", "hr", "--scope", "root"], "admin"),
        (&["create", "hr", "--scope", "read", "--sha256", "12"], "64 hexadecimal"),
        (&["create", "hr", "--scope", "read", "--expires-in-days", "0"], "1"),
        (&["audit", "--since", "yesterday"], "yesterday"),
    ] {
        let finished = shell.run(&[&["token"], arguments].concat()).await;
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_reports_the_state_of_the_breaker() {
    let shell = Shell::new().await;
    let daemon = shell.bday(&["serve"]).start();
    let address = daemon.ready().await;
    let ready = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["checks"]["sending"]["detail"]["breaker"], "closed", "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_deletes_old_audit_rows() {
    let shell = Shell::new().await;
    let pool = shell.0.pool().await;
    sqlx::query("INSERT INTO api_writes (id, at, method, path) VALUES (gen_random_uuid(), '2020-01-01', 'PUT', '/v1/pause')")
        .execute(&pool)
        .await
        .unwrap();
    let daemon = shell.bday(&["serve", "--role", "scheduler"]).start();
    daemon.ready().await;
    eventually("the old row to go", async || {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM api_writes").fetch_one(&pool).await.unwrap();
        (rows == 0).then_some(())
    })
    .await;
}

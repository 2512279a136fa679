//! Runs external API tools against the daemon; `make api-test` installs them.

use std::path::PathBuf;

use tokio::process::Command;

use crate::support::database::Database;
use crate::support::process::{Bday, Running};

/// The folders of the tools that validate the description and generate clients from it.
const TOOLS: &str = "BDAY_OPENAPI_TOOLS";
/// The property-based API tester.
const SCHEMATHESIS: &str = "BDAY_SCHEMATHESIS";
/// Requests per operation and phase.
const MAX_EXAMPLES: &str = "BDAY_SCHEMATHESIS_EXAMPLES";
const SEED: &str = "BDAY_SCHEMATHESIS_SEED";

/// A daemon that requires a token, with a token of scope `admin`.
struct Subject {
    _database: Database,
    daemon: Running,
    url: String,
    token: String,
}

impl Subject {
    async fn start() -> Self {
        let database = Database::new().await;
        let bday = |arguments: &[&str]| {
            Bday::new(arguments)
                .env("BDAY__DATABASE__URL", database.url())
                .env("BDAY__QUEUE__KIND", "postgres")
                .env("BDAY__WEBHOOK__URL", "http://127.0.0.1:9/")
                .env("BDAY__HTTP__AUTH", "required")
                .env("BDAY__KINDS__WORK_ANNIVERSARY__MESSAGE", "{{ full_name }}")
                .env("BDAY__KINDS__WORK_ANNIVERSARY__SEND_AT", "10:00")
        };
        let token = bday(&["token", "create", "tester", "--scope", "admin"]).finish().await;
        let daemon = bday(&["serve", "--role", "api"]).start();
        let address = daemon.ready().await;
        Self {
            _database: database,
            daemon,
            url: format!("http://{address}"),
            token: token.stdout.trim_end().to_owned(),
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/api")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs generators from PyPI and npm: make api-test"]
async fn generated_clients_work() {
    if std::env::var_os(TOOLS).is_none() {
        return;
    }
    let subject = Subject::start().await;
    let work = std::env::temp_dir().join(format!("bday-clients-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&work).unwrap();
    let ended = Command::new(folder().join("clients.sh"))
        .args([&subject.url, &subject.token])
        .arg(&work)
        .status()
        .await
        .unwrap();
    std::fs::remove_dir_all(&work).unwrap();
    assert!(ended.success(), "see its findings above");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs schemathesis from PyPI, and minutes: make api-test"]
async fn the_api_tester_finds_no_faults() {
    let Some(program) = std::env::var_os(SCHEMATHESIS) else {
        return;
    };
    let examples = std::env::var(MAX_EXAMPLES).unwrap_or_else(|_| "50".to_owned());
    let seed = std::env::var(SEED).unwrap_or_else(|_| "1".to_owned());
    let subject = Subject::start().await;
    // No timeout: the tester has its own limits.
    let ended = Command::new(program)
        .arg("--config-file")
        .arg(folder().join("schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", subject.url)])
        .args(["--max-examples", &examples, "--seed", &seed, "--no-color", "--warnings", "off"])
        .args(["--request-timeout", "10"])
        // The tester would revoke its own token.
        .args(["--exclude-operation-id", "revokeToken"])
        .args(["--header", &format!("Authorization: Bearer {}", subject.token)])
        .env("PYTHONPATH", folder())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .current_dir(std::env::temp_dir())
        .status()
        .await
        .unwrap();
    let broken: Vec<String> = subject
        .daemon
        .lines()
        .into_iter()
        .filter(|line| line.contains("\"ERROR\"") || line.contains("panicked"))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(ended.success(), "see its findings above");
}

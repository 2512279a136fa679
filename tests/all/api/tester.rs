//! The property-based API tester (schemathesis) against the real daemon: `make api-test` installs it and runs this.

use std::path::Path;

use tokio::process::Command;

use crate::support::database::Database;
use crate::support::process::Bday;

/// What runs the tester; set by `make api-test`.
const PROGRAM: &str = "BDAY_SCHEMATHESIS";
/// Requests per operation and phase.
const MAX_EXAMPLES: &str = "BDAY_SCHEMATHESIS_EXAMPLES";
/// Another seed, other requests.
const SEED: &str = "BDAY_SCHEMATHESIS_SEED";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs schemathesis from PyPI, and minutes: make api-test"]
async fn the_api_tester_finds_nothing() {
    let Some(program) = std::env::var_os(PROGRAM) else {
        return;
    };
    let examples = std::env::var(MAX_EXAMPLES).unwrap_or_else(|_| "50".to_owned());
    let seed = std::env::var(SEED).unwrap_or_else(|_| "1".to_owned());
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
    let token = bday(&["token", "create", "tester", "--scope", "admin"])
        .finish()
        .await;
    let daemon = bday(&["serve", "--role", "api"]).start();
    let address = daemon.ready().await;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    // As many seconds as it takes: its own limits end it.
    let ended = Command::new(program)
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["run", &format!("http://{address}/openapi.json")])
        .args([
            "--max-examples",
            &examples,
            "--seed",
            &seed,
            "--no-color",
            "--warnings",
            "off",
        ])
        .args(["--request-timeout", "10"])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", token.stdout.trim_end()),
        ])
        .env("PYTHONPATH", &folder)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .current_dir(std::env::temp_dir())
        .status()
        .await
        .unwrap();
    let broken: Vec<String> = daemon
        .lines()
        .into_iter()
        .filter(|line| line.contains("\"ERROR\"") || line.contains("panicked"))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(ended.success(), "see its findings above");
}

//! A dump and a restore, with the steps of `docs/operations.md`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bday::dev::postgres::Binaries;
use bday::model::EventState::{Cancelled, Delivered};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::serve::Place;
use crate::support::database::Database;
use crate::support::world::World;

/// Runs a PostgreSQL program of the server's version.
fn run(program: &str, arguments: &[&str]) {
    let path: PathBuf = Binaries::find().unwrap().postgres.with_file_name(program);
    let done = Command::new(path).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Returns the SQL statement in the document.
fn step_two() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(document).unwrap();
    let (_, from) = text.split_once("```sql").unwrap();
    from.split_once("```").unwrap().0.to_owned()
}

/// A closed event may have been greeted, so a new due instant in another zone must not send it.
#[tokio::test]
async fn a_move_west_after_a_restore_sends_no_second_greeting() {
    let world = World::at("2025-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "Europe/Berlin").await;
    world.tick().await;
    // The lost database sent the greeting at 07:00 UTC.
    world.set("2025-05-02T08:00:00Z");
    let closed = world.database.pool().await.execute(AssertSqlSafe(step_two())).await;
    assert_eq!(closed.unwrap().rows_affected(), 1);
    world.write("u", "1990-05-02", "America/Los_Angeles").await;
    for now in ["2025-05-02T08:00:00Z", "2025-05-02T16:00:00Z"] {
        world.set(now);
        world.minute().await;
        assert_eq!(world.greetings(), 0, "{now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_no_user_is_greeted_twice() {
    let place = Place::new().await;
    let (zone, date) = place.people_who_are_due(20).await;
    assert!(place.bday(&["tick"]).finish().await.status.success());
    let dump = std::env::temp_dir().join(format!("bday-{}.dump", uuid::Uuid::now_v7()));
    let dump = dump.to_str().unwrap();
    run("pg_dump", &["--format=custom", "--file", dump, place.database.url()]);

    // All users are greeted after the backup, before the database is lost.
    let mut before = place.serve();
    place.receiver.until_accepted(20).await;
    place.until_quiet().await;
    before.terminate();
    assert!(before.exit().await.success());

    let restored = Database::empty().await;
    run("pg_restore", &["--no-owner", "--dbname", restored.url(), dump]);
    std::fs::remove_file(dump).unwrap();
    let pool = restored.pool().await;
    let closed = pool.execute(AssertSqlSafe(step_two())).await.unwrap();
    assert_eq!(closed.rows_affected(), 20);

    let mut after = place.bday(&["serve"]).env("BDAY__DATABASE__URL", restored.url()).start();
    after.ready().await;
    let born = date.format("2000-%m-%d").to_string();
    let add = ["user", "add", "--first-name", "Grace", "--birth-date", &born, "--time-zone", &zone];
    let new = |arguments: &[&str]| place.bday(arguments).env("BDAY__DATABASE__URL", restored.url()).finish();
    assert!(new(&add).await.status.success());
    assert!(new(&["tick"]).await.status.success());
    place.receiver.until_accepted(21).await;
    after.terminate();
    assert!(after.exit().await.success());
    place.assert_each_once(21);
    assert_eq!((restored.count(Delivered).await, restored.count(Cancelled).await), (1, 20));
}

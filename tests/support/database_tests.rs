//! Tests of the databases on the shared server.

use crate::support::database::{Database, keep_the_server};

#[tokio::test]
#[ignore = "the server of a test run: the first test that needs a database runs this as a process of its own"]
async fn keeps_the_server_of_a_run() {
    keep_the_server().await;
}

#[tokio::test]
async fn two_databases_have_the_schema_and_nothing_in_common() {
    let (one, other) = (Database::new().await, Database::new().await);
    one.store().check_schema().await.unwrap();
    assert_ne!(one.url(), other.url());
    let pool = one.pool().await;
    sqlx::query("CREATE TABLE mine (n int)").execute(&pool).await.unwrap();
    let there = |pool| async move {
        let there: bool =
            sqlx::query_scalar("SELECT to_regclass('mine') IS NOT NULL").fetch_one(&pool).await.unwrap();
        there
    };
    assert!(there(pool).await);
    assert!(!there(other.pool().await).await);
}

#[tokio::test]
async fn an_empty_database_has_no_schema() {
    let database = Database::empty().await;
    database.store().check_schema().await.unwrap_err();
}

#[tokio::test]
async fn a_database_goes_with_its_last_user_even_while_others_are_connected() {
    let (database, other) = (Database::new().await, Database::new().await);
    let pool = database.pool().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&pool).await.unwrap();
    drop(database);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&other.pool().await)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

//! Pagination, filters and search.

use bday::store::SearchCursor;
use serde_json::{Value, json};
use uuid::Uuid;

use super::create;
use crate::support::api::Server;
use crate::support::database::Database;
use crate::support::wait::eventually;

/// Returns the first names on all pages of `limit` users each.
async fn names(server: &Server, query: &str, limit: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/v1/users?limit={limit}{query}{cursor}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        names.extend(items.iter().map(|user| user["firstName"].as_str().unwrap().to_owned()));
        match &page["next"] {
            Value::Null => return names,
            next => cursor = format!("&cursor={}", next.as_str().unwrap()),
        }
        assert_eq!(items.len(), limit);
    }
}

#[tokio::test]
async fn all_pages_together_have_every_user_once() {
    let server = Server::start().await;
    assert_eq!(server.get("/v1/users").await.expect(200), json!({ "items": [], "next": null }));
    for n in 0..5 {
        create(&server, &json!({ "firstName": format!("n{n}") })).await;
    }
    for limit in [1, 2, 5, 6] {
        assert_eq!(names(&server, "", limit).await, ["n0", "n1", "n2", "n3", "n4"]);
    }
}

#[tokio::test]
async fn a_search_matches_prefixes_of_names_and_ids_in_any_case() {
    let server = Server::start().await;
    for (first, last, id, zone) in [
        ("Ada", "Lovelace", "HR-1", "Europe/London"),
        ("Grace", "Hopper", "hr-2", "America/New_York"),
        ("Örjan", "Ådahl", "x_3", "Europe/Stockholm"),
        ("Ad%", "Lo_", "x%4", "Europe/London"),
    ] {
        let fields = json!({ "firstName": first, "lastName": last, "externalId": id, "timeZone": zone });
        create(&server, &fields).await;
    }
    for (query, found) in [
        ("&search=ada", vec!["Ada"]),
        ("&search=ADA%20LOV", vec!["Ada"]),
        ("&search=lo", vec!["Ad%", "Ada"]),
        ("&search=hr-", vec!["Ada", "Grace"]),
        ("&search=%C3%B6r", vec!["Örjan"]),
        // The wildcards of SQL are matched literally.
        ("&search=ad%25", vec!["Ad%"]),
        ("&search=x_", vec!["Örjan"]),
        ("&search=ovelace", vec![]),
        ("&timeZone=Europe/London", vec!["Ada", "Ad%"]),
        ("&timeZone=Europe/London&search=ada", vec!["Ada"]),
        ("&timeZone=Europe/Paris", vec![]),
    ] {
        assert_eq!(names(&server, query, 1).await, found, "{query}");
    }
}

#[tokio::test]
async fn a_search_returns_a_user_with_several_matches_once() {
    let server = Server::start().await;
    for (first, last, id) in [
        ("Li", "Li", Some("li li")),
        ("Li", "Li", Some("li")),
        ("Lia", "Liu", Some("lib")),
        ("Lia", "Liu", None),
        ("Li", "", None),
        ("Ann", "Li", Some("lj")),
    ] {
        create(&server, &json!({ "firstName": first, "lastName": last, "externalId": id })).await;
    }
    for limit in 1..8 {
        let found = names(&server, "&search=li", limit).await;
        assert_eq!(found, ["Li", "Li", "Ann", "Li", "Lia", "Lia"], "{limit}");
    }
}

#[tokio::test]
async fn a_search_with_few_matches_in_a_zone_is_complete() {
    let server = Server::start().await;
    let pool = server.pool().await;
    sqlx::query(
        "WITH u AS (INSERT INTO users (id, external_id, first_name, last_name, time_zone, created_at, updated_at)
                    SELECT gen_random_uuid(), 'emp-' || n, 'n' || n, '', CASE n % 2000 WHEN 1999 THEN 'Pacific/Apia' ELSE 'UTC' END,
                           now(), now()
                    FROM generate_series(1, 24000) n RETURNING id)
         INSERT INTO occasions (user_id, kind, month, day, known_at) SELECT id, 'birthday', 5, 2, now() FROM u",
    )
    .execute(&pool)
    .await
    .unwrap();
    let (mut found, mut cursor, mut pages) = (0, String::new(), 0);
    loop {
        let path = format!("/v1/users?search=emp-&timeZone=Pacific/Apia{cursor}");
        let page = server.get(&path).await.expect(200);
        found += page["items"].as_array().unwrap().len();
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((found, pages), (12, 2), "a page reads 20,000 matches at most");
}

/// Returns how many pages of the indexes of names were read.
async fn pages_read(database: &Database) -> i64 {
    let pool = database.pool().await;
    // PostgreSQL publishes the counts of a connection when it closes, at the latest.
    let pages = eventually("the end of the other connections", async || {
        let (others, pages): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
                    sum(idx_blks_read + idx_blks_hit)::bigint
             FROM pg_statio_user_indexes WHERE indexrelname IN ('users_by_full_name', 'users_by_last_name')",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        (others == 0).then_some(pages)
    })
    .await;
    pool.close().await;
    pages
}

#[tokio::test]
async fn a_search_reads_no_more_than_its_page() {
    let database = Database::new().await;
    let pool = database.pool().await;
    sqlx::query(
        "WITH u AS (INSERT INTO users (id, first_name, last_name, time_zone, created_at, updated_at)
                    SELECT gen_random_uuid(), 'Ada', 'n' || n, 'UTC', now(), now() FROM generate_series(1, 20000) n RETURNING id)
         INSERT INTO occasions (user_id, kind, month, day, known_at) SELECT id, 'birthday', 5, 2, now() FROM u",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("VACUUM (ANALYZE) users").execute(&pool).await.unwrap();
    pool.close().await;
    let before = pages_read(&database).await;
    let store = database.store();
    for after in [SearchCursor::default(), SearchCursor { key: "n9990".to_owned(), id: Uuid::nil() }] {
        let page = store.search_users("n9", None, after, 5).await.unwrap();
        assert_eq!((page.users.len(), page.next.is_some()), (5, true));
    }
    store.close().await;
    let pages = pages_read(&database).await - before;
    assert!(pages < 50, "{pages} pages of two indexes");
}

#[tokio::test]
async fn a_cursor_is_invalid_for_a_different_query() {
    let server = Server::start().await;
    for n in 0..2 {
        create(&server, &json!({ "firstName": format!("n{n}") })).await;
    }
    let next = async |query: &str| {
        let page = server.get(&format!("/v1/users?limit=1{query}")).await.expect(200);
        page["next"].as_str().unwrap().to_owned()
    };
    let (of_list, of_search) = (next("").await, next("&search=n").await);
    for wrong in [format!("cursor={of_search}"), format!("search=n&cursor={of_list}")] {
        let answer = server.get(&format!("/v1/users?{wrong}")).await;
        answer.expect(400);
        assert_eq!(answer.fields(), ["cursor"], "{wrong}");
    }
}

#[tokio::test]
async fn all_invalid_parameters_are_reported_together() {
    let server = Server::start().await;
    let answer = server.get("/v1/users?limit=501&timeZone=Mars&search=%00&cursor=7&q=x&limit=2").await;
    answer.expect(400);
    assert_eq!(answer.fields(), ["cursor", "limit", "q", "search", "timeZone"]);
    let answer = server.get("/v1/events?state=lost,dead&from=9:00&to=x&userId=1&order=up").await;
    answer.expect(400);
    assert_eq!(answer.fields(), ["from", "order", "state", "to", "userId"]);
}

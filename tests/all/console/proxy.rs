use crate::support::console::Site;
use crate::support::world::World;

const NOW: &str = "2026-11-24T12:00:00Z";

async fn site(networks: &str) -> Site {
    let settings = [
        ("console.proxy_networks", networks),
        ("console.identity_header", "X-Forwarded-User"),
        ("console.readers", "*"),
        ("console.admins", "ada@example.org"),
    ];
    Site::on(World::with(NOW, &settings).await)
}

async fn get(site: &Site, user: &str) -> u16 {
    Site::send(site.http.get(&site.base).header("x-forwarded-user", user)).await.status
}

#[tokio::test]
async fn a_user_that_the_proxy_names_needs_no_token_and_has_the_scope_of_the_configuration() {
    let site = site("127.0.0.0/8").await;
    assert_eq!(get(&site, "grace@example.org").await, 200);
    let pause = |user: &'static str| {
        let headers = [("sec-fetch-site", "same-origin"), ("x-forwarded-user", user)];
        let site = &site;
        async move { site.post_with("/pause", "", &headers, &[]).await.status }
    };
    assert_eq!(pause("grace@example.org").await, 403);
    assert_eq!(pause("ada@example.org").await, 303);
    let rows = site.world.store.api_writes(&bday::store::ApiWriteFilter::default(), None, 10).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.token_id, row.token_name.as_deref(), row.status)).collect();
    assert_eq!(
        rows,
        [(None, Some("ada@example.org"), Some(303)), (None, Some("grace@example.org"), Some(403)),]
    );
}

#[tokio::test]
async fn the_header_of_a_client_outside_the_networks_is_ignored() {
    let site = site("10.0.0.0/8").await;
    assert_eq!(get(&site, "ada@example.org").await, 303);
}

#[tokio::test]
async fn forms_with_an_identity_of_the_proxy_must_come_from_a_page_of_bday() {
    let site = site("127.0.0.0/8").await;
    let headers = [("sec-fetch-site", "cross-site"), ("x-forwarded-user", "ada@example.org")];
    assert_eq!(site.post_with("/pause", "", &headers, &[]).await.status, 403);
}

use bday::model::Scope;

use crate::support::browser::Look;
use crate::support::console::{Site, finish};

const NOW: &str = "2026-11-24T12:00:00Z";

#[tokio::test]
async fn sending_is_paused_and_resumed_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = Site::at(NOW).await;
        let look = Look { has_no_script, ..Look::default() };
        let mut page = site.browse(Scope::Admin, "/", look).await;
        page.fill("input[name=reason]", "<b>the receiver is being moved</b>").await;
        page.follow("form[action='/pause'] button").await;
        let banner = page.evaluate("document.querySelector('#state .banner').textContent").await;
        assert_eq!(
            banner,
            "Sending is paused since 2026-11-24 12:00:00 UTC: <b>the receiver is being moved</b>."
        );
        assert_eq!(
            page.evaluate("document.querySelector('main > .banner').textContent").await,
            "Sending is paused."
        );
        assert!(site.world.store.pause().await.unwrap().is_some());
        page.follow("form[action='/resume'] button").await;
        assert!(site.world.store.pause().await.unwrap().is_none());
        finish(page, site).await;
    }
}

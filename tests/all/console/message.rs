//! `/message`

use bday::model::Scope;
use serde_json::json;

use crate::support::browser::Look;
use crate::support::console::{Site, check_looks, finish};
use crate::support::world::{World, person};

const NOW: &str = "2026-11-24T12:00:00Z";

async fn site_with_mail() -> Site {
    let settings = [
        ("channels.mail.url", "smtp://127.0.0.1:9"),
        ("kinds.birthday.channels", "mail,webhook"),
        ("kinds.birthday.mail.subject", "Happy birthday, {{ first_name }}!"),
        (
            "kinds.birthday.mail.html",
            "<p style=\"color: teal\">Dear {{ full_name }}{% if years %}, {{ years }} today{% endif %}</p>",
        ),
        ("kinds.birthday.mail.de.subject", "Alles Gute, {{ first_name }}!"),
    ];
    Site::on(World::with(NOW, &settings).await)
}

#[tokio::test]
async fn special_people_are_shown_without_choosing_one() {
    let site = site_with_mail().await;
    let mut page = site.browse(Scope::Read, "/message", Look::default()).await;
    let titles = page
        .evaluate("[...document.querySelectorAll('.preview h2')].map((title) => title.textContent)")
        .await;
    let expected = [
        "A person born on 29 February",
        "A person without a year",
        "A person with one name",
        "A person with a right-to-left name",
        "A person with names of 200 characters",
    ];
    assert_eq!(titles, json!(expected));
    let subjects =
        page.evaluate("[...document.querySelectorAll('.subject')].map((text) => text.textContent)").await;
    assert_eq!(subjects[2], "Happy birthday, Björk!");
    assert_eq!(
        page.evaluate("getComputedStyle(document.querySelectorAll('.subject')[3]).direction").await,
        "ltr"
    );
    assert_eq!(page.evaluate("getComputedStyle(document.querySelectorAll('.preview')[3].querySelectorAll('.text')[1]).whiteSpace").await, "pre-wrap");
    finish(page, site).await;
}

#[tokio::test]
async fn the_message_to_a_person_is_shown_by_channel_and_language() {
    let site = site_with_mail().await;
    let mut ada = person("<script>alert(1)</script>", "1990-12-10", "Europe/London");
    ada.addresses.insert(bday::model::ContactType::Email, Some("ada@example.org".to_owned()));
    let id = site.world.write_user(ada).await;
    let mut page = site.browse(Scope::Read, &format!("/message?user={id}"), Look::default()).await;
    let heads = page
        .evaluate("[...document.querySelectorAll('.message h3')].map((head) => head.textContent.trim())")
        .await;
    assert_eq!(heads, json!(["By mail would be sent", "By webhook"]));
    let text = page.evaluate("document.querySelector('.text').textContent").await;
    assert_eq!(text, "Hey, Ada <script>alert(1)</script> it's your birthday");
    page.fill("[name=locale]", "de-AT").await;
    page.fill("[name=channel]", "mail").await;
    page.follow("main form button").await;
    assert_eq!(page.evaluate("document.querySelector('.subject').textContent").await, "Alles Gute, Ada!");
    let command = page.evaluate("document.querySelector('.command').textContent").await;
    assert_eq!(command, format!("bday message preview {id} --kind birthday --channel mail --locale de-AT"));
    finish(page, site).await;
}

#[tokio::test]
async fn the_html_of_a_mail_is_shown_in_a_frame_without_rights() {
    let site = site_with_mail().await;
    let mut eve = person("King", "1990-12-10", "Europe/London");
    eve.first_name = "<script>alert(1)</script>".to_owned();
    let id = site.world.write_user(eve).await;
    let mut page =
        site.browse(Scope::Read, &format!("/message?user={id}&channel=mail"), Look::default()).await;
    let frame = page.evaluate("document.querySelector('iframe').getAttribute('src')").await;
    assert_eq!(page.evaluate("document.querySelector('iframe').getAttribute('sandbox')").await, "");
    let cookie = site.sign_in(Scope::Write).await;
    let reply = site.get(frame.as_str().unwrap(), &cookie).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.text,
        "<p style=\"color: teal\">Dear &lt;script&gt;alert(1)&lt;&#x2f;script&gt; King, 36 today</p>"
    );
    let policy = reply.header("content-security-policy");
    for directive in ["sandbox;", "default-src 'none'", "style-src 'unsafe-inline'", "frame-ancestors 'self'"]
    {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("script-src") && !policy.contains("allow-"), "{policy}");
    assert_eq!(reply.header("x-frame-options"), "SAMEORIGIN");
    let missing = format!("/message/html?user={id}&channel=webhook");
    assert_eq!(site.get(&missing, &cookie).await.status, 404);
    finish(page, site).await;
}

#[tokio::test]
async fn a_name_that_several_people_have_leads_to_a_choice() {
    let site = Site::at(NOW).await;
    site.world.write("hr-17", "1990-12-10", "UTC").await;
    let other = site.world.write("hr-18", "1991-12-10", "UTC").await;
    let mut page = site.browse(Scope::Read, "/message", Look::default()).await;
    page.fill("[name=user]", "ada").await;
    page.follow("main form button").await;
    assert_eq!(page.evaluate("document.querySelectorAll('#matches + ul a').length").await, 2);
    page.follow(&format!("a[href*='{other}']")).await;
    assert_eq!(page.evaluate("document.querySelector('.preview h2').textContent").await, "Ada hr-18");
    page.fill("[name=user]", "hr-17").await;
    page.follow("main form button").await;
    assert_eq!(page.evaluate("document.querySelector('.preview h2').textContent").await, "Ada hr-17");
    finish(page, site).await;
}

#[tokio::test]
async fn an_invalid_choice_is_named_beside_its_field() {
    let site = Site::at(NOW).await;
    let id = site.world.write("hr-17", "1990-12-10", "UTC").await;
    let cookie = site.sign_in(Scope::Read).await;
    for (query, status, message) in [
        ("user=unknown".to_owned(), 404, "No person has this id"),
        ("kind=name_day".to_owned(), 400, "no kind &#34;name_day&#34; is configured"),
        (format!("user={id}&kind=name_day"), 400, "no kind &#34;name_day&#34; is configured"),
        ("channel=fax".to_owned(), 400, "unknown channel"),
        (format!("user={id}&locale=german"), 400, "invalid locale"),
        ("user=a%00b".to_owned(), 404, "No person has this id"),
    ] {
        let reply = site.get(&format!("/message?{query}"), &cookie).await;
        assert_eq!(reply.status, status, "{query}");
        assert!(reply.text.contains(message), "{query}: {}", reply.text);
    }
    site.stop().await;
}

#[tokio::test]
async fn the_page_of_messages_is_accessible() {
    let site = site_with_mail().await;
    let id = site.world.write("hr-17", "1990-12-10", "UTC").await;
    site.world.write("hr-18", "1990-12-10", "UTC").await;
    let mut page = site.browse(Scope::Read, "/message", Look::default()).await;
    check_looks(&mut page, &site, &["/message", &format!("/message?user={id}"), "/message?user=ada"]).await;
    finish(page, site).await;
}

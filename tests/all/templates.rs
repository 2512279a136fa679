//! Templates per kind, channel and locale: from the configuration to the message.

use bday::config::{self, Config, ConfigError, ShownKey};
use bday::model::EventState::{Dead, Delivered};
use bday::model::{ChannelName, User};
use bday::people::preview::{PreviewRequest, PreviewSettings, PreviewedMessage, preview, sample_previews};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::api::Server;
use crate::support::file::File;
use crate::support::process::Bday;
use crate::support::world::{World, instant, person};

const NOW: &str = "2026-05-02T08:00:00Z";

fn variables(variables: &[(&str, &str)]) -> config::Variables {
    variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = [&[("BDAY__CHANNELS__MAIL__FROM", "greetings@example.org")], environment].concat();
    config::load(Some(File::with(file).path().as_ref()), variables(&environment))
}

fn errors(file: &str) -> Vec<String> {
    match load(file, &[]) {
        Err(ConfigError::Invalid(errors)) => errors,
        other => panic!("{other:?}"),
    }
}

fn named(first_name: &str, last_name: &str) -> User {
    let mut user = person(last_name, "1990-05-10", "UTC");
    first_name.clone_into(&mut user.first_name);
    user.created(uuid::Uuid::nil(), instant(NOW))
}

/// Returns the message to `user` by `channel`.
fn render(config: &Config, user: &User, channel: ChannelName, locale: Option<&str>) -> PreviewedMessage {
    let settings = PreviewSettings::new(config).unwrap();
    let request = PreviewRequest { channel: Some(channel), ..PreviewRequest::default() };
    let user = User { locale: locale.map(str::to_owned), ..user.clone() };
    preview(&user, None, &request, &settings, instant(NOW)).unwrap().messages.remove(0)
}

const MAIL: &str = r#"
[kinds.birthday]
channels = ["mail", "webhook"]
[kinds.birthday.mail]
subject = "Happy birthday, {{ full_name }}!"
text = "Text {{ first_name }}"
html = '<p title="{{ full_name }}">{{ first_name }}</p>'
[kinds.birthday.mail.pt-BR]
subject = "Feliz aniversário"
"#;

#[test]
fn the_locale_of_a_user_is_compared_without_regard_to_case() {
    let config = load(MAIL, &[]).unwrap();
    for (locale, subject) in [
        (Some("pt-BR"), "Feliz aniversário"),
        (Some("PT-br"), "Feliz aniversário"),
        (Some("pt"), "Happy birthday, Ada Lovelace!"),
        (Some("tlh"), "Happy birthday, Ada Lovelace!"),
        (None, "Happy birthday, Ada Lovelace!"),
    ] {
        let message = render(&config, &named("Ada", "Lovelace"), ChannelName::Mail, locale);
        assert_eq!(message.subject.as_deref(), Some(subject), "{locale:?}");
        assert_eq!(message.text.as_deref(), Some("Text Ada"));
    }
}

#[test]
fn html_is_escaped_and_text_is_not() {
    let config = load(MAIL, &[]).unwrap();
    let message = render(&config, &named("<b>Ada</b>", "\"&'"), ChannelName::Mail, None);
    assert_eq!(message.text.as_deref(), Some("Text <b>Ada</b>"));
    let html = message.html.unwrap();
    assert!(
        html.starts_with("<p title=\"&lt;b&gt;") && html.ends_with("&lt;b&gt;Ada&lt;&#x2f;b&gt;</p>"),
        "{html}"
    );
    assert!(html.contains("&quot;&amp;&#x27;\">"), "{html}");
}

#[test]
fn a_name_cannot_add_a_header() {
    let config = load(MAIL, &[]).unwrap();
    let message =
        render(&config, &named("Ada\r\nBcc: all@example.org\r\n\r\nx", "L"), ChannelName::Mail, None);
    assert_eq!(message.subject.as_deref(), Some("Happy birthday, Ada  Bcc: all@example.org    x L!"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_name_breaks_a_header_or_html(first in "\\PC*|(?s).{0,40}|[<>&\"'/\r\n\u{2028}\u{85}]{0,20}", last in "(?s).{0,20}") {
        let config = load(MAIL, &[]).unwrap();
        for subject in [None, Some("")] {
            let mut config = config.clone();
            if subject.is_some() {
                // The subject is then that of the text.
                config.kinds.get_mut("birthday").unwrap().templates.clear();
            }
            let message = render(&config, &named(&first, &last), ChannelName::Mail, None);
            let subject = message.subject.unwrap();
            prop_assert!(!subject.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{subject:?}");
            if let Some(html) = message.html {
                for (sign, times) in [('<', 2), ('>', 2), ('"', 2), ('\'', 0)] {
                    prop_assert_eq!(html.matches(sign).count(), times, "{:?}", html);
                }
                let text = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#x27;", "'")
                    .replace("&#x2f;", "/").replace("&amp;", "&");
                let full = format!("{first} {last}");
                prop_assert_eq!(text, format!("<p title=\"{}\">{first}</p>", full.trim_end()));
            }
        }
    }
}

#[test]
fn each_broken_template_is_refused_with_its_key() {
    let file = r#"
[kinds.birthday]
message = "{{ nickname }}"
[kinds.birthday.mail]
subject = "two\nlines"
html = "{% if %}"
[kinds.birthday.mail.de]
text = "{{ frist_name }}"
html = "{{ unsubscribe_url }}"
[kinds.birthday.sms]
text = "{{ unsubscribe_url }}"
[kinds.birthday.slack.fr]
text = "{{ last_name[0] }}"
[kinds.birthday.whatsapp]
content_sid = "HX12"
variables = {"1" = "{{ years ~ 'x' }}"}
"#;
    let errors = errors(file);
    for (key, problem) in [
        ("kinds.birthday.message: ", "unknown variable nickname"),
        ("kinds.birthday.mail.subject: ", "line break"),
        ("kinds.birthday.mail.html: ", "syntax error"),
        ("kinds.birthday.mail.de.text: ", "did you mean first_name?"),
        ("kinds.birthday.sms.text: ", "only known in text and html of mail"),
        ("kinds.birthday.slack.fr.text: ", "a user with one name"),
        ("kinds.birthday.whatsapp.content_sid: ", "HX and 32 hexadecimal digits"),
        ("kinds.birthday.whatsapp.variables.1: ", "{% if years %}"),
    ] {
        let mut of_key = errors.iter().filter(|error| error.starts_with(key));
        assert!(of_key.any(|error| error.contains(problem)), "{key}: {errors:#?}");
    }
    assert!(!errors.iter().any(|error| error.starts_with("kinds.birthday.mail.de.html: ")), "{errors:#?}");
}

#[test]
fn the_parts_of_a_mail_are_of_one_locale() {
    let german = "[kinds.birthday.mail]\nhtml = \"<p>Hi</p>\"\n[kinds.birthday.mail.de]\ntext = \"Hallo\"\n";
    assert!(errors(german)[0].contains("add kinds.birthday.mail.de.html"), "{:?}", errors(german));
    load(&format!("{german}html = \"<p>Hallo</p>\""), &[]).unwrap();
    let alone = "[kinds.birthday.whatsapp]\nvariables = {\"1\" = \"x\"}\n";
    assert!(errors(alone)[0].contains("add kinds.birthday.whatsapp.content_sid"), "{:?}", errors(alone));
}

#[test]
fn an_unknown_key_of_a_template_has_a_suggestion() {
    for (table, problem) in [
        ("mail]\nsbject = 'x'", "did you mean kinds.birthday.mail.subject?"),
        ("mail.de]\ntxt = 'x'", "did you mean kinds.birthday.mail.de.text?"),
        ("sms]\nhtml = 'x'", "unknown key kinds.birthday.sms.html in the file"),
        ("mail.german]\ntext = 'x'", "invalid locale \"german\": expected a language tag such as de"),
        ("mial]\ntext = 'x'", "did you mean kinds.birthday.mail.text?"),
        ("mail]\ntext = 5", "kinds.birthday.mail.text is 5: expected a text in quotes"),
        ("mail.de]\ntext = 'x'\n[kinds.birthday.mail.DE]\ntext = 'y'", "given twice"),
    ] {
        let errors = errors(&format!("[kinds.birthday.{table}\n"));
        assert!(errors.len() == 1 && errors[0].contains(problem), "{table}: {errors:?}");
    }
}

#[test]
fn the_channels_of_a_kind_are_not_empty_and_have_no_duplicate() {
    for (channels, problem) in [
        ("[]", "kinds.birthday.channels is empty: expected webhook, mail"),
        ("['mail', 'webhook', 'mail']", "kinds.birthday.channels has mail twice"),
    ] {
        let errors = errors(&format!("[kinds.birthday]\nchannels = {channels}\n"));
        assert!(errors.iter().any(|error| error.contains(problem)), "{errors:?}");
    }
}

#[test]
fn a_variable_of_the_environment_replaces_a_template() {
    let environment = [
        ("BDAY__KINDS__BIRTHDAY__MAIL__PT_BR__SUBJECT", "007"),
        ("BDAY__KINDS__BIRTHDAY__SMS__TEXT", "true"),
        ("BDAY__KINDS__BIRTHDAY__WHATSAPP__CONTENT_SID", "HX0123456789abcdef0123456789abcdef"),
        ("BDAY__KINDS__BIRTHDAY__WHATSAPP__VARIABLES__1", "{{ first_name }}"),
    ];
    let config = load(MAIL, &environment).unwrap();
    let of = |channel| render(&config, &named("Ada", ""), channel, Some("pt-BR"));
    assert_eq!(of(ChannelName::Mail).subject.as_deref(), Some("007"));
    assert_eq!(of(ChannelName::Sms).text.as_deref(), Some("true"));
    let whatsapp = of(ChannelName::Whatsapp);
    assert_eq!((whatsapp.text, &*whatsapp.variables["1"]), (None, "Ada"));
    let shown = config::show(Some(File::with(MAIL).path().as_ref()), variables(&environment)).unwrap();
    let show = |key: &str| {
        let found: Vec<&ShownKey> = shown.iter().filter(|shown| shown.key == key).collect();
        assert_eq!(found.len(), 1, "{key}");
        serde_json::to_value(found[0]).unwrap()
    };
    let subject = show("kinds.birthday.mail.pt-br.subject");
    assert_eq!((&subject["value"], &subject["origin"]), (&"007".into(), &"environment".into()));
    let text = show("kinds.birthday.mail.text");
    assert_eq!((&text["value"], &text["origin"]), (&"Text {{ first_name }}".into(), &"file".into()));
}

#[tokio::test]
async fn a_template_that_fails_for_one_user_stops_no_other_greeting() {
    let text = "{% if last_name == 'b' %}{{ last_name // 0 }}{% endif %}Hey, {{ last_name }}";
    let world = World::with("2026-05-01T00:00:00Z", &[("kinds.birthday.webhook.text", text)]).await;
    for name in ["a", "b", "c"] {
        world.write(name, "1990-05-02", "UTC").await;
    }
    world.minute().await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Delivered).await, world.count(Dead).await), (2, 2, 1));
    let dead: (String, String) = sqlx::query_as("SELECT reason, last_error FROM events WHERE state = 'dead'")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap();
    assert_eq!(
        dead,
        ("template".to_owned(), "kinds.birthday.webhook.text: invalid operation in line 1".to_owned())
    );
}

#[tokio::test]
async fn a_greeting_is_in_the_language_of_its_user() {
    let settings = [
        ("kinds.birthday.webhook.text", "Hey, {{ last_name }}"),
        ("kinds.birthday.webhook.de.text", "Alles Gute, {{ last_name }} ({{ locale }})"),
    ];
    let world = World::with("2026-05-01T00:00:00Z", &settings).await;
    for (name, locale) in [("a", Some("de-AT")), ("b", Some("fr")), ("c", None)] {
        let user = world.write(name, "1990-05-02", "UTC").await;
        let pool = world.database.pool().await;
        sqlx::query("UPDATE users SET locale = $2 WHERE id = $1")
            .bind(user)
            .bind(locale)
            .execute(&pool)
            .await
            .unwrap();
    }
    world.minute().await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    let records = world.receiver.records();
    let bodies = records.iter().map(|record| serde_json::from_slice::<Value>(&record.body).unwrap());
    let mut messages: Vec<String> = bodies.map(|body| body["message"].as_str().unwrap().to_owned()).collect();
    messages.sort();
    assert_eq!(messages, ["Alles Gute, a (de-AT)", "Hey, b", "Hey, c"]);
}

#[tokio::test]
async fn the_preview_shows_each_channel_and_the_one_that_reaches_the_user() {
    let settings = [
        ("kinds.birthday.channels", "mail,webhook"),
        ("kinds.birthday.mail.subject", "Hi, {{ first_name }}"),
        ("kinds.birthday.mail.de.subject", "Hallo, {{ first_name }}, {{ years }}"),
        ("kinds.birthday.webhook.text", "{% if last_name == 'hr-17' %}{{ 1 // 0 }}{% endif %}"),
    ];
    let world = World::with(NOW, &settings).await;
    let user = world.write("hr-17", "2000-02-29", "Asia/Kathmandu").await;
    let pool = world.database.pool().await;
    let locale = sqlx::query("UPDATE users SET locale = 'de-AT' WHERE id = $1").bind(user);
    locale.execute(&pool).await.unwrap();
    let api = Server::on(&world);
    let path = format!("/v1/users/{user}/preview");
    let shown = api.get(&path).await.expect(200);
    assert_eq!((&shown["reachedBy"], &shown["locale"]), (&"webhook".into(), &"de-AT".into()));
    assert_eq!((&shown["localDate"], &shown["years"]), (&"2027-02-28".into(), &27.into()));
    let [mail, webhook] = &shown["messages"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!(mail["subject"], "Hallo, Ada, 27");
    assert_eq!(
        mail["templates"],
        serde_json::json!(["kinds.birthday.mail.de.subject", "kinds.birthday.message"])
    );
    assert_eq!(webhook["error"], "kinds.birthday.webhook.text: invalid operation in line 1");

    let address =
        "INSERT INTO contact_points VALUES ($1, 'email', 'ada@example.org', decode(repeat('00', 32), 'hex'))";
    sqlx::query(address).bind(user).execute(&pool).await.unwrap();
    let shown = api.get(&format!("{path}?channel=mail&locale=fr")).await.expect(200);
    assert_eq!((&shown["reachedBy"], &shown["locale"]), (&"mail".into(), &"fr".into()));
    assert_eq!(shown["messages"].as_array().unwrap().len(), 1);
    assert_eq!(shown["messages"][0]["subject"], "Hi, Ada");

    for (query, field) in
        [("channel=fax", "channel"), ("locale=german", "locale"), ("kind=x", "kind"), ("x=1", "x")]
    {
        let problem = api.get(&format!("{path}?{query}")).await.expect(400);
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    api.get("/v1/users/0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f/preview").await.expect(404);
}

#[test]
fn the_samples_have_special_names_and_dates() {
    let config = load(MAIL, &[]).unwrap();
    let settings = PreviewSettings::new(&config).unwrap();
    let samples = sample_previews(&PreviewRequest::default(), &settings, instant(NOW)).unwrap();
    assert_eq!(samples.len(), 5);
    for sample in &samples {
        let messages = &sample.preview.messages;
        assert!(messages.len() == 2 && messages.iter().all(|message| message.error.is_none()), "{sample:?}");
    }
    assert_eq!(samples[0].preview.local_date.to_string(), "2027-02-28");
    assert_eq!(samples[1].preview.years, None);
    assert_eq!(samples[2].preview.messages[0].subject.as_deref(), Some("Happy birthday, Björk!"));
    let long = samples[4].preview.messages[1].text.as_deref().unwrap();
    assert!(long.chars().count() > 400, "{long}");
}

#[tokio::test]
async fn samples_are_previewed_without_a_database() {
    let shown = Bday::new(["message", "preview", "--samples", "--json"]).finish().await;
    assert!(shown.status.success(), "{shown:?}");
    let samples: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(samples[2]["messages"][0]["text"], "Hey, Björk it's your birthday");
    let text = Bday::new(["message", "preview", "--samples", "--channel", "mail"]).finish().await;
    assert!(text.stdout.contains("subject: Hey, Ada Lovelace it's your birthday"), "{text:?}");
    for (argument, value, problem) in
        [("--kind", "x", "no kind \"x\" is configured"), ("--locale", "german", "invalid locale \"german\"")]
    {
        let refused = Bday::new(["message", "preview", "--samples", argument, value]).finish().await;
        assert!(!refused.status.success() && refused.stderr.contains(problem), "{refused:?}");
    }
}

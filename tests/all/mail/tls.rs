//! Encryption: smtps and STARTTLS with verified certificates; a server that does not offer STARTTLS gets nothing.

use std::path::PathBuf;

use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::mail::{Encryption, Mail, MailOptions, SmtpServer};
use bday::pipeline::channel::{Channel as _, Disposition};
use serde_json::json;

use super::{ada, catcher, mail, options, plain};
use crate::support::smtp::{Act, SmtpServer as ScriptedServer};
use crate::support::tls::{Authority, TlsFront};

fn to(port: u16, encryption: Encryption, roots: Option<&Authority>) -> Mail {
    let root_certificates = roots.map(|authority| std::fs::read(authority.file()).unwrap());
    let login = Some(("user".to_owned(), "hunter2".to_owned()));
    let server = SmtpServer { host: "localhost".to_owned(), port, encryption, login };
    mail(MailOptions { root_certificates, ..options() }, server)
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("bday-mail-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn certificates_are_verified_by_smtps_and_by_starttls() {
    let (ours, another, folder) = (Authority::new(), Authority::new(), Folder::new());
    for (what, certified, roots, accepted) in [
        ("valid", ours.certify("localhost", 2100), Some(&ours), true),
        ("for another name", ours.certify("example.org", 2100), Some(&ours), false),
        ("expired", ours.certify("localhost", 2021), Some(&ours), false),
        ("of another authority", another.certify("localhost", 2100), Some(&ours), false),
        ("of an untrusted authority", ours.certify("localhost", 2100), None, false),
    ] {
        let [certificate, key] = certified.write(&folder.0);
        let login = json!({ "user": "user", "password": "hunter2" });
        let (mut behind, address) = catcher(login.clone()).await;
        let front = TlsFront::before_address(address, certified).await;
        let mut with_tls = login;
        with_tls["certificate"] = json!(certificate);
        with_tls["key"] = json!(key);
        let (mut offering, starttls) = catcher(with_tls).await;
        for (port, encryption, server) in [
            (front.port(), Encryption::Tls, &mut behind),
            (starttls.port(), Encryption::StartTls, &mut offering),
        ] {
            let result = to(port, encryption, roots).send(&ada()).await;
            if accepted {
                assert_eq!(result.disposition, Disposition::Delivered, "{what}, {encryption:?}: {result:?}");
                let received = server.next().await;
                assert_eq!(received["tls"], encryption == Encryption::StartTls);
            } else {
                assert_eq!(result.outcome, AttemptOutcome::Failed, "{what}, {encryption:?}");
                assert_eq!(result.disposition, Disposition::Retry(None), "{what}, {encryption:?}");
                assert_eq!(result.reason, Some(Reason::Connect), "{what}, {encryption:?}");
                assert!(result.error.unwrap().contains("certificate"), "{what}, {encryption:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_starttls_nothing_is_sent_to_another_machine() {
    let server = ScriptedServer::start().await;
    let result = to(server.address().port(), Encryption::StartTls, None).send(&ada()).await;
    assert_eq!(result.disposition, Disposition::Defer(None), "{result:?}");
    assert_eq!(result.reason, Some(Reason::ChannelDown));
    assert!(result.error.unwrap().contains("does not offer STARTTLS"));
    // A server, or an attacker, that offers it and then refuses.
    server.on("EHLO", Act::Reply("250-test\r\n250-STARTTLS\r\n250 AUTH PLAIN".to_owned()));
    server.on("STARTTLS", Act::Reply("454 4.7.0 TLS not available".to_owned()));
    let result = to(server.address().port(), Encryption::StartTls, None).send(&ada()).await;
    assert_eq!((result.disposition, result.status), (Disposition::Defer(None), Some(454)), "{result:?}");
    let commands: Vec<String> = server.commands().into_iter().map(|(_, command)| command).collect();
    assert!(
        commands.iter().all(|command| ["EHLO", "STARTTLS", "QUIT"].iter().any(|c| command.starts_with(c))),
        "{commands:?}"
    );
    assert_eq!(server.messages().len(), 0);
}

#[tokio::test]
async fn a_server_on_this_machine_may_have_any_certificate_unless_one_is_configured() {
    let (ours, another, folder) = (Authority::new(), Authority::new(), Folder::new());
    let [certificate, key] = ours.certify("elsewhere", 2100).write(&folder.0);
    let (mut server, address) = catcher(json!({ "certificate": certificate, "key": key })).await;
    let result = mail(options(), plain(address)).send(&ada()).await;
    assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
    assert_eq!(server.next().await["tls"], true);
    let root_certificates = Some(std::fs::read(another.file()).unwrap());
    let result = mail(MailOptions { root_certificates, ..options() }, plain(address)).send(&ada()).await;
    assert_eq!(result.reason, Some(Reason::Connect), "{result:?}");
}

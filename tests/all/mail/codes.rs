//! Each row of the tables of codes, through the channel and in the documentation.

use bday::model::AttemptOutcome;
use bday::pipeline::channel::mail::{Encryption, Phase, SES_ROWS, SMTP_ROWS, SmtpRow};
use bday::pipeline::channel::{Channel as _, Disposition};

use super::{ada, mail, options, plain};
use crate::support::smtp::{Act, SmtpServer};

const PAGE: &str = include_str!("../../../docs/channels.md");

/// Returns a reply that matches the row: its code, and a text.
fn sample(row: &SmtpRow) -> (u16, String) {
    let code = match row.code {
        "xxx" => "554".to_owned(),
        code if code.starts_with("50") => "502".to_owned(),
        // 459 and 559 are in no other row.
        code => code.replacen('x', "5", 1).replace('x', "9"),
    };
    let text = match row.enhanced {
        "" | "none" => "<ada@example.org> secret words".to_owned(),
        enhanced => format!("{} <ada@example.org> secret words", enhanced.replace('x', "99")),
    };
    (code.parse().unwrap(), text)
}

#[tokio::test]
async fn each_reply_of_the_table_has_its_outcome() {
    for row in SMTP_ROWS {
        let (code, text) = sample(row);
        let phases: Vec<Phase> =
            Phase::ALL.into_iter().filter(|phase| SmtpRow::of(*phase, code, &text) == row).collect();
        assert!(!phases.is_empty(), "no reply has this row: {row:?}");
        assert!(row.phases.iter().all(|phase| phases.contains(phase)), "{row:?}: only {phases:?}");
        for phase in phases {
            reply_has_outcome(row, phase, code, &text).await;
        }
    }
}

async fn reply_has_outcome(row: &SmtpRow, phase: Phase, code: u16, text: &str) {
    let stages: &[&'static str] = match phase {
        Phase::Connect => &["greeting", "EHLO"],
        Phase::Auth => &["AUTH"],
        Phase::Mail => &["MAIL"],
        Phase::Rcpt => &["RCPT"],
        Phase::Data => &["DATA", "message"],
    };
    for stage in stages {
        let server = SmtpServer::start().await;
        server.on(stage, Act::Reply(format!("{code} {text}")));
        let mut url = plain(server.address());
        url.login = Some(("user".to_owned(), "password".to_owned()));
        assert_eq!(url.encryption, Encryption::Opportunistic);
        let mail = mail(options(), url);
        let result = mail.send(&ada()).await;
        assert_eq!(result.outcome, AttemptOutcome::Failed, "{stage}: {row:?}");
        assert_eq!(result.disposition, row.disposition, "{stage}: {row:?}");
        assert_eq!(result.reason, Some(row.reason), "{stage}: {row:?}");
        assert_eq!(result.status, Some(code), "{stage}: {row:?}");
        assert_eq!(result.response.as_deref(), Some(text), "{stage}: {row:?}");
        // It is logged.
        let error = result.error.unwrap();
        assert!(
            error.contains(row.meaning) && !error.contains("ada@") && !error.contains("secret"),
            "{error}"
        );
        // The next greeting is sent, on the same connection where that is possible.
        server.accept_all();
        let result = mail.send(&ada()).await;
        assert_eq!(result.disposition, Disposition::Delivered, "after {stage}, {row:?}: {result:?}");
        let reuses = code != 421 && !matches!(phase, Phase::Connect | Phase::Auth);
        assert_eq!(server.connections(), if reuses { 1 } else { 2 }, "{stage}: {row:?}");
    }
}

fn fate(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Delivered => "delivered",
        Disposition::Retry(_) => "retried",
        Disposition::Defer(None) => "deferred",
        Disposition::Defer(Some(_)) => "deferred, at least 10 min",
        Disposition::Unreachable(_) => "contact marked, next channel",
        Disposition::Dead => "dead",
    }
}

#[test]
fn the_documentation_has_each_row_in_order() {
    let smtp = SMTP_ROWS.iter().map(|row| {
        let phases: Vec<&str> = row.phases.iter().map(|phase| phase.as_str()).collect();
        let phases = if phases.is_empty() { "any".to_owned() } else { phases.join(", ") };
        let enhanced = if row.enhanced.is_empty() { "any" } else { row.enhanced };
        let (fate, reason) = (fate(row.disposition), row.reason.as_str());
        format!("| `{}` | {enhanced} | {phases} | {} | {fate} | `{reason}` |", row.code, row.meaning)
    });
    let ses = SES_ROWS.iter().map(|row| {
        let code = match (row.code, row.class) {
            ("", 0) => "any other".to_owned(),
            ("", class) => format!("any other, status {class}xx"),
            (code, _) => format!("`{code}`"),
        };
        let code = if row.text.is_empty() { code } else { format!("{code}, “{}”", row.text) };
        let unknown = if row.outcome == AttemptOutcome::Unknown { ", outcome unknown" } else { "" };
        let (fate, reason) = (fate(row.disposition), row.reason.as_str());
        format!("| {code} | {} | {fate}{unknown} | `{reason}` |", row.meaning)
    });
    let mut rest = PAGE;
    for line in smtp.chain(ses) {
        let found = rest.split_once(&format!("{line}\n"));
        rest = found.unwrap_or_else(|| panic!("docs/channels.md lacks, or has elsewhere:\n{line}")).1;
    }
}

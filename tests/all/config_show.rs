//! `bday config show` and configuration errors never contain a secret, even if its key or line is invalid.

use crate::support::file::File;
use crate::support::process::{Bday, Finished};

fn assert_rejected(shown: &Finished) {
    assert_eq!(shown.status.code(), Some(2), "{shown:?}");
    assert!(!format!("{shown:?}").contains("hunter2"), "{shown:?}");
}

#[tokio::test]
async fn the_value_of_an_unknown_key_is_hidden() {
    let file = File::with(
        "[database]\npasword = \"hunter2\"\n[database.credentials]\npassword = \"hunter2\"\n\
         [[webhook.signing]]\nkey = \"hunter2\"\n",
    );
    for format in [None, Some("--json")] {
        let arguments = ["--config", file.path(), "config", "show"];
        let shown = Bday::new(arguments.into_iter().chain(format))
            .env("BDAY__WEBHOOK__SECRET", "whsec_hunter2")
            .finish()
            .await;
        assert_rejected(&shown);
        for key in ["database.pasword", "database.credentials.password", "webhook.signing", "webhook.secret"]
        {
            assert!(shown.stdout.contains(key), "{key}: {shown:?}");
        }
        assert!(shown.stderr.contains("BDAY__WEBHOOK__SECRET"), "{shown:?}");
    }
}

#[tokio::test]
async fn an_error_has_the_number_and_not_the_text_of_an_invalid_line() {
    for (content, place, problem) in [
        ("[database]\npassword = hunter2\n", "line 2, column 12", "quoted"),
        ("[database]\npassword = \"hunter2\n", "line 2, column", "basic string"),
        ("[database]\r\npassword = \"hunter2\" x\r\n", "line 2, column 22", "expected newline"),
        (
            "database.password = \"hunter2\"\ndatabase.password = \"hunter2\"\n",
            "line 2, column",
            "duplicate key",
        ),
        ("hunter2", "line 1, column", "expected"),
    ] {
        let file = File::with(content);
        for command in [["config", "show"], ["user", "list"]] {
            let shown = Bday::new(["--config", file.path()].into_iter().chain(command)).finish().await;
            assert_rejected(&shown);
            for part in [file.path(), place, problem] {
                assert!(shown.stderr.contains(part), "{part}: {shown:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_error_names_a_missing_file() {
    let shown = Bday::new(["--config", "/nowhere/bday.toml", "config", "show"]).finish().await;
    assert_rejected(&shown);
    assert!(shown.stderr.contains("/nowhere/bday.toml"), "{shown:?}");
}

#[tokio::test]
async fn errors_show_the_path_of_the_file_as_given() {
    for content in ["hunter2", "[http]\nmax_connections = \"many\"\n"] {
        let file = File::with(content);
        let (folder, name) = file.path().rsplit_once('/').unwrap();
        let given = format!("{folder}/./{name}");
        let shown = Bday::new(["--config", &given, "user", "list"]).finish().await;
        assert_rejected(&shown);
        assert!(shown.stderr.contains(&given), "{shown:?}");
    }
}

//! Prepares each SQL statement in the sources against the schema, so that a wrong name or type fails here even if no other test
//! runs the statement.

use std::fs;
use std::path::Path;

use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
use syn::visit::{self, Visit};

use crate::support::database::Database;

/// The limit for statements that are completed at run time, with `format!` or a query builder.
const MAX_INCOMPLETE: usize = 20;
const SYNTAX_ERROR: &str = "42601";

#[derive(Default)]
struct Statements {
    complete: Vec<String>,
    incomplete: usize,
}

impl Statements {
    fn add(&mut self, text: String) {
        let verb = text.split_whitespace().next().unwrap_or_default();
        let more = text.split_whitespace().nth(1).is_some();
        if !more || !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&verb) {
            return;
        }
        if text.contains('{') {
            self.incomplete += 1;
        } else if text.trim_end().ends_with("WHERE") {
            // A query builder adds the conditions.
            self.complete.push(text + " true");
        } else {
            self.complete.push(text);
        }
    }
}

impl Visit<'_> for Statements {
    fn visit_lit_str(&mut self, literal: &syn::LitStr) {
        self.add(literal.value());
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        // The literals of `concat!`, `format!` and the macros of this crate.
        for token in call.tokens.clone() {
            if let Ok(literal) = syn::parse2::<syn::LitStr>(token.into()) {
                self.add(literal.value());
            }
        }
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, _: &syn::Attribute) {}
}

fn read(directory: &Path, statements: &mut Statements) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, statements);
        } else {
            statements.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn each_sql_statement_matches_the_schema() {
    let mut statements = Statements::default();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"), &mut statements);
    assert!(statements.complete.len() >= 80, "only {} statements found", statements.complete.len());
    let database = Database::new().await;
    let pool = database.pool().await;
    let mut wrong = Vec::new();
    for statement in &statements.complete {
        let prepared = pool.prepare(AssertSqlSafe(statement.clone()).into_sql_str()).await;
        let Err(error) = prepared else { continue };
        if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(SYNTAX_ERROR)) {
            statements.incomplete += 1;
        } else {
            wrong.push(format!("{error}:\n{statement}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(statements.incomplete <= MAX_INCOMPLETE, "{} statements are incomplete", statements.incomplete);
}

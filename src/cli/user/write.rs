//! `bday user add` and `bday user update`

use std::convert::Infallible;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::output;
use crate::cli::context::Context;
use crate::model::{FieldError, JsonObject, NewUser, User, UserInput};
use crate::store::{SaveOutcome, UserChange, UserRef};

const ADD: &str = "\
Examples:
  bday user add --first-name Ada --last-name Lovelace --birth-date 1815-12-10 \\
    --time-zone Europe/London
  bday user add --first-name Ken --birth-date=--02-29 --time-zone Asia/Tokyo \\
    --send-at 07:30 --external-id hr-17
  bday user add --first-name Eve --birth-date 1990-04-01 --time-zone UTC \\
    --occasion work_anniversary=2019-05-02 --email eve@example.org --locale pt-BR";

#[derive(Debug, clap::Args)]
#[command(after_help = ADD)]
pub(in crate::cli) struct Add {
    #[command(flatten)]
    fields: Fields,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const UPDATE: &str = "\
Examples:
  bday user update hr-17 --time-zone America/New_York
  bday user update hr-17 --send-at '' --occasion work_anniversary=     clear two fields";

#[derive(Debug, clap::Args)]
#[command(after_help = UPDATE)]
pub(in crate::cli) struct Update {
    /// The id or the external id
    user: String,
    #[command(flatten)]
    fields: Fields,
    /// Print the user as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Fields {
    /// Up to 200 characters
    #[arg(long, value_name = "NAME")]
    first_name: Option<String>,
    /// Up to 200 characters; optional
    #[arg(long, value_name = "NAME")]
    last_name: Option<String>,
    /// YYYY-MM-DD, or =--MM-DD without the year
    #[arg(long, allow_hyphen_values = true, value_name = "DATE")]
    birth_date: Option<String>,
    /// An IANA name, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Local send time [default: that of the kind]
    #[arg(long, value_name = "HH:MM")]
    send_at: Option<String>,
    /// What 29 February means in a common year: `feb28`, `mar1` or `leap_years_only`
    #[arg(long, value_name = "RULE")]
    leap_day: Option<String>,
    /// Your own id for the user
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// An email address, such as ada@example.org
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A phone number in international form, such as +491711234567
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// The member ID in Slack, such as U012AB3CD
    #[arg(long, value_name = "ID")]
    slack_user_id: Option<String>,
    /// The language of the message, such as de or pt-BR [default: that of the kind]
    #[arg(long, value_name = "TAG")]
    locale: Option<String>,
    /// A date of another configured kind; may be repeated
    #[arg(long, value_name = "KIND=DATE")]
    occasion: Vec<String>,
}

impl Fields {
    /// The fields as in the API; an option with an empty value clears its field.
    fn object(&self) -> Result<JsonObject, FieldError> {
        let texts = [
            ("firstName", &self.first_name),
            ("lastName", &self.last_name),
            ("birthDate", &self.birth_date),
            ("timeZone", &self.time_zone),
            ("sendAt", &self.send_at),
            ("leapDay", &self.leap_day),
            ("externalId", &self.external_id),
            ("email", &self.email),
            ("phone", &self.phone),
            ("slackUserId", &self.slack_user_id),
            ("locale", &self.locale),
        ];
        let value = |text: &str| match text {
            "" => Value::Null,
            text => Value::from(text),
        };
        let given = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        let mut fields: Map<String, Value> =
            given.map(|(name, text)| (name.to_owned(), value(text))).collect();
        let mut occasions = Map::new();
        for given in &self.occasion {
            let Some((kind, date)) = given.split_once('=') else {
                let problem =
                    format!("is {given:?}: expected KIND=DATE, such as work_anniversary=2019-05-02");
                return Err(FieldError::new("occasions", problem));
            };
            occasions.insert(kind.to_owned(), value(date));
        }
        if !occasions.is_empty() {
            fields.insert("occasions".to_owned(), Value::Object(occasions));
        }
        Ok(JsonObject(fields))
    }

    fn apply(&self, input: UserInput<'_>) -> Result<NewUser, Vec<FieldError>> {
        let object = self.object().map_err(|error| vec![error])?;
        input.patch(&object).validate()
    }
}

pub(super) async fn add(args: Add, context: &Context) -> Result<ExitCode> {
    let user = match args.fields.apply(UserInput::complete(&context.schedule, context.latest_today())) {
        Ok(user) => user,
        Err(errors) => return Ok(print_errors(&errors)),
    };
    let reference = user.external_id.as_deref().map(UserRef::External);
    let replace = |_| Ok::<_, Infallible>(user.clone());
    let saved =
        context.store.save_user(&context.schedule, context.clock.now(), reference, None, replace).await?;
    let SaveOutcome::Saved(change, user) = saved else { bail!("the user was not saved: {saved:?}") };
    let result = match change {
        UserChange::Created => "created",
        UserChange::Updated => "updated",
        UserChange::Unchanged => "unchanged",
    };
    let json = json!({ "id": user.id, "result": result });
    output::json_or_text(args.json, &json, format_args!("{result} {}: {}", user.id, summary(&user)))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn update(args: Update, context: &Context) -> Result<ExitCode> {
    let found = context.user(&args.user).await?;
    let edited = context
        .store
        .edit_user(&context.schedule, context.clock.now(), UserRef::Id(found.id), |user| {
            args.fields.apply(UserInput::from_user(user, &context.schedule, context.latest_today()))
        })
        .await;
    let (change, user) = match edited {
        Ok(SaveOutcome::Saved(change, user)) => (change, user.with_configured_kinds(&context.schedule)),
        Ok(SaveOutcome::Refused(Some(errors))) => return Ok(print_errors(&errors)),
        Ok(_) => bail!("the user {} was deleted concurrently", found.id),
        Err(error) if error.constraint() == Some("external_ids_are_unique") => {
            bail!("--external-id belongs to another user: choose another")
        }
        Err(error) => return Err(error.into()),
    };
    let text = match change {
        UserChange::Unchanged => format!("unchanged {}", user.id),
        _ => format!("updated {}: {}", user.id, summary(&user)),
    };
    output::json_or_text(args.json, &user, text)?;
    Ok(ExitCode::SUCCESS)
}

fn summary(user: &User) -> String {
    let name = output::escape(&format!("{} {}", user.first_name, user.last_name));
    format!("{}, {}, {}", name.trim_end(), user.birth_date, user.time_zone.name())
}

/// Prints errors with the names of the options, and returns the exit code of an invalid call.
fn print_errors(errors: &[FieldError]) -> ExitCode {
    for error in errors {
        eprintln!("bday: {}", output::escape(&format!("{} {}", option(&error.field), error.problem)));
    }
    ExitCode::from(2)
}

fn option(field: &str) -> String {
    match field.strip_prefix("occasions") {
        Some("") => "--occasion".to_owned(),
        Some(kind) => format!("--occasion {}:", kind.trim_start_matches('.')),
        None => {
            let mut option = "--".to_owned();
            for c in field.chars() {
                if c.is_ascii_uppercase() {
                    option.push('-');
                }
                option.push(c.to_ascii_lowercase());
            }
            option
        }
    }
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn a_field_has_the_name_of_its_option() {
        assert_eq!(option("birthDate"), "--birth-date");
        assert_eq!(option("slackUserId"), "--slack-user-id");
        assert_eq!(option("occasions.work_anniversary"), "--occasion work_anniversary:");
    }
}

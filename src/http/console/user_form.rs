//! The form of a person: the fields of a user as text, each with its error.

use chrono::NaiveDate;

use super::fields::Fields;
use super::person_text::{capitalised, kind_in_words, zone_names};
use super::problem::ConsoleProblem;
use crate::calendar::format_count;
use crate::http::api::problem::rejected_field;
use crate::model::{FieldError, Schedule, User, UserInput};
use crate::store::StoreError;

/// A field of [`UserInput`].
struct Definition {
    /// The name in the API.
    name: &'static str,
    label: &'static str,
    hint: Hint,
    input: Input,
    is_required: bool,
}

/// A text about a field, and an example of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) text: &'static str,
    pub(super) example: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Text,
    Time,
    Zone,
    LeapDay,
}

const fn text(name: &'static str, label: &'static str, hint: (&'static str, &'static str)) -> Definition {
    let hint = Hint { text: hint.0, example: hint.1 };
    Definition { name, label, hint, input: Input::Text, is_required: false }
}

const DATE_HINT: (&str, &str) = ("YYYY-MM-DD; if the year is unknown, as", "--12-10");

const PERSON: [Definition; 4] = [
    Definition { is_required: true, ..text("firstName", "First name", ("", "")) },
    text("lastName", "Last name", ("Some people have one name.", "")),
    Definition { is_required: true, ..text("birthDate", "Birth date", DATE_HINT) },
    Definition {
        is_required: true,
        input: Input::Zone,
        ..text("timeZone", "Time zone", ("An IANA name, such as", "Europe/London"))
    },
];

const ADDRESSES: [Definition; 3] = [
    text("email", "Email address", ("", "")),
    text("phone", "Phone number", ("In international form, such as", "+491711234567")),
    text("slackUserId", "Slack member ID", ("From the profile in Slack, such as", "U012AB3CD")),
];

const GREETING: [Definition; 3] = [
    Definition {
        input: Input::Time,
        ..text("sendAt", "Send time", ("Local time. Empty: that of the kind.", ""))
    },
    Definition {
        input: Input::LeapDay,
        ..text("leapDay", "Born on 29 February", ("The day of the greeting in years without this date.", ""))
    },
    text("locale", "Language", ("Empty: that of the kind. Otherwise such as", "pt-BR")),
];

const IDENTITY: [Definition; 1] =
    [text("externalId", "External id", ("Your own id of this person, unique, such as", "hr-17"))];

/// One choice of a `<select>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) text: String,
    pub(super) is_selected: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FormField {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) hint: Hint,
    pub(super) value: String,
    pub(super) error: Option<String>,
    /// The value that was saved concurrently.
    pub(super) saved: Option<String>,
    pub(super) choices: Vec<Choice>,
    pub(super) is_required: bool,
    input: Input,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldGroup {
    pub(super) title: &'static str,
    pub(super) fields: Vec<FormField>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserForm {
    pub(super) groups: Vec<FieldGroup>,
}

impl FormField {
    pub(super) fn input_type(&self) -> &'static str {
        if self.input == Input::Time { "time" } else { "text" }
    }

    pub(super) fn has_zones(&self) -> bool {
        self.input == Input::Zone
    }

    /// Returns the ids of the texts about this field.
    pub(super) fn described_by(&self) -> String {
        let texts = [
            (!self.hint.text.is_empty(), "hint"),
            (self.saved.is_some(), "saved"),
            (self.error.is_some(), "error"),
        ];
        let ids = texts.iter().filter(|(exists, _)| *exists).map(|(_, text)| format!("{}-{text}", self.name));
        ids.collect::<Vec<_>>().join(" ")
    }
}

impl UserForm {
    /// Returns the form with what `value` returns for the name of each field.
    fn of(schedule: &Schedule, value: impl Fn(&str) -> String) -> Self {
        let field = |definition: &Definition| {
            let value = value(definition.name);
            FormField {
                name: definition.name.to_owned(),
                label: definition.label.to_owned(),
                hint: definition.hint,
                choices: match definition.input {
                    Input::LeapDay => leap_day_choices(schedule, &value),
                    _ => Vec::new(),
                },
                value,
                error: None,
                saved: None,
                is_required: definition.is_required,
                input: definition.input,
            }
        };
        let group = |title, definitions: &[Definition]| FieldGroup {
            title,
            fields: definitions.iter().map(field).collect(),
        };
        let mut groups = vec![
            group("Person", &PERSON),
            group("Addresses", &ADDRESSES),
            group("Greeting", &GREETING),
            group("Identity", &IDENTITY),
        ];
        let dates: Vec<FormField> = schedule.other_kinds().map(|kind| date_field(kind, &value)).collect();
        if !dates.is_empty() {
            groups.insert(1, FieldGroup { title: "Further dates", fields: dates });
        }
        Self { groups }
    }

    pub(super) fn empty(schedule: &Schedule) -> Self {
        Self::of(schedule, |_| String::new())
    }

    pub(super) fn of_user(user: &User, schedule: &Schedule) -> Self {
        Self::of(schedule, |field| value_of(user, field))
    }

    /// Returns the form as it was sent.
    pub(super) fn sent(fields: &Fields, schedule: &Schedule) -> Self {
        Self::of(schedule, |field| fields.text(field).to_owned())
    }

    pub(super) fn with_errors(mut self, errors: &[FieldError]) -> Self {
        for field in self.fields_mut() {
            let found = errors.iter().find(|error| error.field == field.name);
            field.error = found.map(|error| with_label(&field.label, &error.problem));
        }
        self
    }

    /// Shows which values `user` has now, where they differ.
    pub(super) fn with_saved(mut self, user: &User) -> Self {
        for field in self.fields_mut() {
            let value = value_of(user, &field.name);
            field.saved = (value != field.value).then_some(value);
        }
        self
    }

    pub(super) fn invalid_fields(&self) -> impl Iterator<Item = &FormField> {
        self.groups.iter().flat_map(|group| &group.fields).filter(|field| field.error.is_some())
    }

    pub(super) fn summary(&self) -> String {
        format_count(self.invalid_fields().count(), "field is invalid:", "fields are invalid:")
    }

    pub(super) fn zones(&self) -> impl Iterator<Item = &'static str> + use<> {
        zone_names()
    }

    fn fields_mut(&mut self) -> impl Iterator<Item = &mut FormField> {
        self.groups.iter_mut().flat_map(|group| &mut group.fields)
    }
}

/// Returns the fields of a form as the whole user: an empty field is not set.
pub(super) fn read<'a>(fields: &Fields, schedule: &'a Schedule, today: NaiveDate) -> UserInput<'a> {
    let mut input = UserInput::complete(schedule, today);
    for definition in PERSON.iter().chain(&ADDRESSES).chain(&GREETING).chain(&IDENTITY) {
        input.set(definition.name, fields.text(definition.name));
    }
    for kind in schedule.other_kinds() {
        input.set_occasion(kind, fields.text(&date_name(kind)));
    }
    input
}

/// Returns the error of an external id that another user has.
pub(super) fn taken() -> FieldError {
    FieldError::new("externalId", "belongs to another person: edit that person, or give another id")
}

/// Returns the field that the database rejected.
pub(super) fn rejected(error: StoreError) -> Result<Vec<FieldError>, ConsoleProblem> {
    match rejected_field(&error) {
        Some("externalId") => Ok(vec![taken()]),
        Some(field) => Ok(vec![FieldError::new(field, "is rejected by the database")]),
        None => Err(error.into()),
    }
}

fn date_name(kind: &str) -> String {
    format!("occasions.{kind}")
}

fn date_field(kind: &str, value: impl Fn(&str) -> String) -> FormField {
    let name = date_name(kind);
    FormField {
        value: value(&name),
        name,
        label: capitalised(&kind_in_words(kind)),
        hint: Hint { text: DATE_HINT.0, example: DATE_HINT.1 },
        error: None,
        saved: None,
        choices: Vec::new(),
        is_required: false,
        input: Input::Text,
    }
}

fn leap_day_choices(schedule: &Schedule, value: &str) -> Vec<Choice> {
    let rules =
        [("feb28", "28 February"), ("mar1", "1 March"), ("leap_years_only", "no greeting in other years")];
    let default = rules.iter().find(|(rule, _)| *rule == schedule.leap_day.as_str());
    let default = default.map(|(_, text)| format!("as configured ({text})")).unwrap_or_default();
    let rules = rules.map(|(rule, text)| (rule, text.to_owned()));
    let choice = |(rule, text)| Choice { value: rule, text, is_selected: rule == value };
    std::iter::once(("", default)).chain(rules).map(choice).collect()
}

fn value_of(user: &User, field: &str) -> String {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    match field {
        "firstName" => user.first_name.clone(),
        "lastName" => user.last_name.clone(),
        "birthDate" => user.birth_date.to_string(),
        "timeZone" => user.time_zone.name().to_owned(),
        "sendAt" => user.send_at.map(|at| at.to_string()).unwrap_or_default(),
        "leapDay" => user.leap_day.map(|rule| rule.to_string()).unwrap_or_default(),
        "locale" => optional(&user.locale),
        "externalId" => optional(&user.external_id),
        "email" => optional(&user.email),
        "phone" => optional(&user.phone),
        "slackUserId" => optional(&user.slack_user_id),
        date => {
            let kind = date.strip_prefix("occasions.").unwrap_or(date);
            user.occasions.get(kind).map(ToString::to_string).unwrap_or_default()
        }
    }
}

/// Begins the error with the name of the field if it has no subject.
fn with_label(label: &str, problem: &str) -> String {
    if ["is ", "has ", "belongs "].iter().any(|verb| problem.starts_with(verb)) {
        format!("{label} {problem}")
    } else {
        problem.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule::of_kinds(&["birthday", "work_anniversary"])
    }

    fn sent(form: &str) -> (UserForm, Result<crate::model::NewUser, Vec<FieldError>>) {
        let (fields, schedule) = (Fields::parse(form.as_bytes()), schedule());
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a date");
        let user = read(&fields, &schedule, today).validate();
        (UserForm::sent(&fields, &schedule), user)
    }

    #[test]
    fn every_error_is_beside_its_field_and_the_input_is_kept() {
        let (form, user) = sent(
            "firstName=+&birthDate=1815-13-10&timeZone=Europe/Berln&email=ada&phone=1&slackUserId=x&sendAt=25:00&\
             leapDay=x&locale=german&occasions.work_anniversary=1&externalId=hr-17",
        );
        let form = form.with_errors(&user.expect_err("errors"));
        let invalid: Vec<&str> = form.invalid_fields().map(|field| field.name.as_str()).collect();
        let expected = [
            "firstName",
            "birthDate",
            "timeZone",
            "occasions.work_anniversary",
            "email",
            "phone",
            "slackUserId",
            "sendAt",
            "leapDay",
            "locale",
        ];
        assert_eq!(invalid, expected);
        let zone = form.invalid_fields().nth(2).expect("a field");
        assert_eq!(zone.value, "Europe/Berln");
        assert!(zone.error.as_deref().is_some_and(|error| error.contains("did you mean Europe/Berlin?")));
        let first = form.invalid_fields().next().expect("a field");
        assert_eq!(first.error.as_deref(), Some("First name is missing"));
    }

    #[test]
    fn the_form_of_a_user_sends_the_same_user() {
        let form = "firstName=Ada&lastName=Lovelace&birthDate=--12-10&timeZone=Europe/London&email=ada%40example.org&\
                    phone=%2B491711234567&slackUserId=U012AB3CD&sendAt=07:30&leapDay=mar1&locale=en-GB&\
                    occasions.work_anniversary=1833-06-05&externalId=hr-17";
        let user = sent(form).1.expect("a user").created(uuid::Uuid::nil(), chrono::DateTime::UNIX_EPOCH);
        let shown = UserForm::of_user(&user, &schedule());
        let pairs = shown.groups.iter().flat_map(|group| &group.fields);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.map(|field| (&field.name, &field.value)));
        let again = sent(&query.finish()).1.expect("a user");
        assert_eq!(again.created(uuid::Uuid::nil(), chrono::DateTime::UNIX_EPOCH), user);
    }

    #[test]
    fn concurrent_values_are_shown_where_they_differ() {
        let ada = sent("firstName=Ada&birthDate=1815-12-10&timeZone=Europe/London").1.expect("a user");
        let ada = ada.created(uuid::Uuid::nil(), chrono::DateTime::UNIX_EPOCH);
        let (form, _) = sent("firstName=Ada&birthDate=1815-12-11&timeZone=Europe/London");
        let saved: Vec<_> = form.with_saved(&ada).groups.into_iter().flat_map(|group| group.fields).collect();
        let saved: Vec<_> = saved.iter().filter_map(|field| field.saved.as_deref()).collect();
        assert_eq!(saved, ["1815-12-10"]);
    }
}

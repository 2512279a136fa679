//! The three layers, and where each value came from.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Environment, File, FileFormat, Map, Source as _, Value, ValueKind};
use serde::Serialize;

use super::{Config, ConfigError, redact};
use crate::model::BIRTHDAY;

const DEFAULTS: &str = include_str!("../../config/default.toml");
/// A list in a variable is separated by commas.
const LISTS: [&str; 1] = ["retry.schedule_secs"];
/// In place of the value of a key that does not exist.
const UNKNOWN: &str = "[not a key: not shown]";

/// The environment, by name.
pub type Variables = Map<String, String>;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `config/default.toml`, compiled in.
    Default,
    /// The file given by `--config`.
    File,
    /// A variable `BDAY__SECTION__KEY`.
    Environment,
}

/// One key as `bday config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// `section.key`
    pub key: String,
    /// Secrets redacted.
    pub value: String,
    /// Which layer won.
    pub origin: Origin,
}

struct Layers {
    default: BTreeMap<String, Value>,
    file: BTreeMap<String, Value>,
    environment: BTreeMap<String, Value>,
}

impl Layers {
    fn collect(file: Option<&Path>, variables: Variables) -> Result<Self, ConfigError> {
        let default = flat(config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)))?;
        let file = match file {
            None => BTreeMap::new(),
            Some(path) => read(path)?,
        };
        let mut environment = Environment::with_prefix("BDAY")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",");
        for list in LISTS {
            environment = environment.with_list_parse_key(list);
        }
        let verbatim = verbatim(&variables);
        let mut environment =
            flat(config::Config::builder().add_source(environment.source(Some(variables))))?;
        environment.extend(verbatim);
        Ok(Self { default, file, environment })
    }

    /// Errors of keys that do not exist, each with the nearest key.
    fn unknown(&self) -> Vec<String> {
        let layers = [(&self.file, "the file"), (&self.environment, "the environment")];
        let mut errors = Vec::new();
        for (layer, name) in layers {
            for key in layer.keys().filter(|key| !self.knows(key)) {
                let shown = if name == "the file" { key.clone() } else { variable(key) };
                let nearest = self
                    .default
                    .keys()
                    .map(|known| (strsim::damerau_levenshtein(known, key), known))
                    .min()
                    // A key that differs by more than half is no typo.
                    .filter(|(distance, _)| distance * 2 <= key.len())
                    .map(|(_, known)| if name == "the file" { known.clone() } else { variable(known) });
                let meant = nearest.map_or_else(String::new, |known| format!("; did you mean {known}?"));
                let meant = if meant.is_empty() { ":" } else { &meant };
                errors.push(format!("{shown} (in {name}) is not a key{meant} `bday config show` lists all"));
            }
        }
        errors
    }

    /// A key of the defaults, or one of a further kind.
    fn knows(&self, key: &str) -> bool {
        let of_kind = |rest: &str| rest.split_once('.').map(|(_, field)| format!("kinds.birthday.{field}"));
        self.default.contains_key(key)
            || key.strip_prefix("kinds.").and_then(of_kind).is_some_and(|key| self.default.contains_key(&key))
    }

    /// The kinds beside the birthday in the file and the environment, with the keys that are given for each.
    fn further_kinds(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for key in self.file.keys().chain(self.environment.keys()) {
            let of_kind = key.strip_prefix("kinds.").and_then(|rest| rest.split_once('.'));
            if let Some((kind, field)) = of_kind.filter(|(kind, _)| *kind != BIRTHDAY) {
                kinds.entry(kind).or_default().push(field);
            }
        }
        kinds
    }

    /// Errors of further kinds without a message.
    fn without_message(&self) -> Vec<String> {
        let kinds = self.further_kinds().into_iter();
        kinds
            .filter(|(_, fields)| !fields.contains(&"message"))
            .map(|(kind, _)| {
                format!(
                    "kinds.{kind}.message is missing: write what is said, such as message = \"Hey, {{{{ full_name }}}}\" \
                     under [kinds.{kind}]"
                )
            })
            .collect()
    }

    /// The values that apply. A further kind without a send time has that of the birthday.
    fn merged(&self) -> BTreeMap<String, (&Value, Origin)> {
        let layers = [
            (&self.default, Origin::Default),
            (&self.file, Origin::File),
            (&self.environment, Origin::Environment),
        ];
        let mut merged = BTreeMap::new();
        for (layer, origin) in layers {
            merged.extend(layer.iter().map(|(key, value)| (key.clone(), (value, origin))));
        }
        if let Some(send_at) = merged.get(&format!("kinds.{BIRTHDAY}.send_at")).copied() {
            for kind in self.further_kinds().into_keys() {
                merged.entry(format!("kinds.{kind}.send_at")).or_insert(send_at);
            }
        }
        merged
    }
}

/// Reads and checks the configuration. `variables` is the environment of the process, or of a test.
pub fn load(file: Option<&Path>, variables: Variables) -> Result<Config, ConfigError> {
    let layers = Layers::collect(file, variables)?;
    let mut wrong = layers.unknown();
    wrong.extend(layers.without_message());
    if !wrong.is_empty() {
        return Err(ConfigError::Invalid(wrong));
    }
    let mut builder = config::Config::builder();
    for (key, (value, _)) in layers.merged() {
        builder = builder.set_override(key, value.clone()).map_err(|error| unreadable(&error))?;
    }
    let config: Config = builder
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| ConfigError::Invalid(vec![error.to_string()]))?;
    config.validate()?;
    Ok(config)
}

/// The values that apply, valid or not. An unknown key is shown without its value: it may be a misspelt secret's.
pub fn show(file: Option<&Path>, variables: Variables) -> Result<Vec<Shown>, ConfigError> {
    let layers = Layers::collect(file, variables)?;
    Ok(layers
        .merged()
        .into_iter()
        .map(|(key, (value, origin))| Shown {
            value: if layers.knows(&key) { redact::shown(&key, &text(value)) } else { UNKNOWN.to_owned() },
            key,
            origin,
        })
        .collect())
}

/// Secrets as they were given: as numbers, `007` and `1e3` would change.
fn verbatim(variables: &Variables) -> BTreeMap<String, Value> {
    redact::SOURCES
        .iter()
        .filter_map(|key| {
            let value = variables.get(&variable(key))?;
            Some(((*key).to_owned(), Value::from(value.as_str())))
        })
        .collect()
}

/// The keys of a file. Errors name the file as the user did.
fn read(path: &Path) -> Result<BTreeMap<String, Value>, ConfigError> {
    let path_given = path.display().to_string();
    let in_file =
        |problem: &dyn std::fmt::Display| ConfigError::Unreadable(format!("{path_given}: {problem}"));
    let text = std::fs::read_to_string(path).map_err(|error| in_file(&error))?;
    let file = config::Config::builder().add_source(File::from_str(&text, FileFormat::Toml));
    let keys = flat(file).map_err(|error| match error {
        ConfigError::Unreadable(problem) => in_file(&problem),
        error @ ConfigError::Invalid(_) => error,
    })?;
    let with_origin = |value: Value| Value::new(Some(&path_given), value.kind);
    Ok(keys.into_iter().map(|(key, value)| (key, with_origin(value))).collect())
}

fn flat(
    builder: config::ConfigBuilder<config::builder::DefaultState>,
) -> Result<BTreeMap<String, Value>, ConfigError> {
    let table = builder.build().and_then(|config| config.collect()).map_err(|error| unreadable(&error))?;
    let mut keys = BTreeMap::new();
    flatten("", table, &mut keys);
    Ok(keys)
}

fn flatten(prefix: &str, table: Map<String, Value>, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.kind {
            ValueKind::Table(inner) => flatten(&key, inner, keys),
            _ => {
                keys.insert(key, value);
            }
        }
    }
}

fn text(value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        _ => value.to_string(),
    }
}

fn variable(key: &str) -> String {
    format!("BDAY__{}", key.replace('.', "__").to_uppercase())
}

fn unreadable(error: &config::ConfigError) -> ConfigError {
    ConfigError::Unreadable(match error {
        config::ConfigError::FileParse { cause, .. } => without_the_line(&cause.to_string()),
        error => error.to_string(),
    })
}

/// A parser's error without the line of the file that it repeats: the line may have a secret.
///
/// ```text
/// TOML parse error at line 2, column 12
///   |
/// 2 | password = hunter2
///   |            ^^^^^^^
/// string values must be quoted, expected literal string
/// ```
fn without_the_line(said: &str) -> String {
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let (first, last) = match lines[..] {
        [] => return "invalid TOML".to_owned(),
        [only] => return only.to_owned(),
        [first, .., before, last] if before.trim_matches([' ', '|', '^']).is_empty() => (first, last),
        [first, ..] => (first, "invalid TOML"),
    };
    match first.strip_prefix("TOML parse error at ") {
        Some(place) => format!("{place}: {last}"),
        None => last.to_owned(),
    }
}

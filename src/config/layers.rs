//! The three layers of the configuration, and the origin of each value.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Environment, File, FileFormat, Map, Source as _, Value, ValueKind};
use serde::Serialize;

use super::templates::{self, TemplateKey};
use super::{Config, ConfigError, redact};
use crate::model::BIRTHDAY;

const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Separated by commas in a variable.
const LISTS: [&str; 1] = ["retry.schedule_secs"];
/// A further kind without these fields uses those of the birthday.
const INHERITED: [&str; 2] = ["send_at", "channels"];
/// Shown instead of the value of an unknown key, which may be a misspelt secret.
const HIDDEN: &str = "[unknown key: not shown]";

/// The environment of a process, or of a test.
pub type Variables = Map<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Default,
    File,
    Environment,
}

/// One key as `bday config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownKey {
    pub key: String,
    /// Without secrets.
    pub value: String,
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
            Some(path) => read_file(path)?,
        };
        let mut environment = Environment::with_prefix("BDAY")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",");
        for list in LISTS {
            environment = environment.with_list_parse_key(list);
        }
        let verbatim = verbatim(&default, &variables);
        let mut environment =
            flat(config::Config::builder().add_source(environment.source(Some(variables))))?;
        environment.extend(verbatim);
        Ok(Self { default, file, environment })
    }

    /// Returns an error for each unknown key of the file and the environment.
    fn unknown_keys(&self) -> Vec<String> {
        let as_written = |key: &str| key.to_owned();
        let in_file = self.unknown_keys_of(&self.file, "the file", as_written);
        let in_environment = self.unknown_keys_of(&self.environment, "the environment", variable);
        [in_file, in_environment].concat()
    }

    fn unknown_keys_of(
        &self,
        layer: &BTreeMap<String, Value>,
        place: &str,
        written: impl Fn(&str) -> String,
    ) -> Vec<String> {
        let unknown = layer.keys().filter(|key| !self.is_known(key));
        unknown
            .map(|key| {
                let shown = written(key);
                if let Some(problem) = templates::invalid_locale(key) {
                    return format!("unknown key {shown} in {place}: {problem}");
                }
                let nearest = self
                    .nearest_key(key)
                    .map_or_else(String::new, |known| format!("did you mean {}? ", written(&known)));
                format!("unknown key {shown} in {place}: {nearest}`bday config show` lists all keys")
            })
            .collect()
    }

    /// Returns the most similar key, if at most half of `key` differs.
    fn nearest_key(&self, key: &str) -> Option<String> {
        let known = self.default.keys().cloned().chain(templates::candidates(key));
        let distances = known.map(|known| (strsim::damerau_levenshtein(&known, key), known));
        distances.min().filter(|(distance, _)| distance * 2 <= key.len()).map(|(_, known)| known)
    }

    fn is_known(&self, key: &str) -> bool {
        let of_kind =
            |(_, field): (&str, &str)| self.default.contains_key(&format!("kinds.{BIRTHDAY}.{field}"));
        self.default.contains_key(key)
            || kind_and_field(key).is_some_and(of_kind)
            || TemplateKey::parse(key).is_some()
    }

    /// Returns the kinds other than birthday, with the fields that the file and the environment give for each.
    fn further_kinds(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for key in self.file.keys().chain(self.environment.keys()) {
            if let Some((kind, field)) = kind_and_field(key)
                && kind != BIRTHDAY
            {
                kinds.entry(kind).or_default().push(field);
            }
        }
        kinds
    }

    /// Returns an error for each further kind without a message.
    fn missing_messages(&self) -> Vec<String> {
        let kinds = self.further_kinds().into_iter();
        kinds
            .filter(|(_, fields)| !fields.contains(&"message"))
            .map(|(kind, _)| {
                format!(
                    "kinds.{kind}.message is missing: set it under [kinds.{kind}], such as message = \"Hey, \
                     {{{{ full_name }}}}\""
                )
            })
            .collect()
    }

    /// Returns the values in effect. A further kind inherits some fields of the birthday.
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
        for field in INHERITED {
            if let Some(value) = merged.get(&format!("kinds.{BIRTHDAY}.{field}")).copied() {
                for kind in self.further_kinds().into_keys() {
                    merged.entry(format!("kinds.{kind}.{field}")).or_insert(value);
                }
            }
        }
        merged
    }
}

/// Reads and validates the configuration.
pub fn load(file: Option<&Path>, variables: Variables) -> Result<Config, ConfigError> {
    let layers = Layers::collect(file, variables)?;
    let errors = [layers.unknown_keys(), layers.missing_messages()].concat();
    if !errors.is_empty() {
        return Err(ConfigError::Invalid(errors));
    }
    let mut values = layers.merged().into_iter().map(|(key, (value, _))| (key, value.clone())).collect();
    let templates = templates::take(&mut values).map_err(ConfigError::Invalid)?;
    let mut builder = config::Config::builder();
    for (key, value) in values {
        builder = builder.set_override(key, value).map_err(|error| unreadable(&error))?;
    }
    let mut config: Config = builder
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| ConfigError::Invalid(vec![error.to_string()]))?;
    for (kind, templates) in templates {
        if let Some(kind) = config.kinds.get_mut(&kind) {
            kind.templates = templates;
        }
    }
    config.validate()?;
    Ok(config)
}

/// Returns the values in effect, valid or not.
pub fn show(file: Option<&Path>, variables: Variables) -> Result<Vec<ShownKey>, ConfigError> {
    let layers = Layers::collect(file, variables)?;
    Ok(layers
        .merged()
        .into_iter()
        .map(|(key, (value, origin))| ShownKey {
            value: if layers.is_known(&key) { redact::redact(&key, &text(value)) } else { HIDDEN.to_owned() },
            key,
            origin,
        })
        .collect())
}

/// Splits `kinds.KIND.FIELD`.
fn kind_and_field(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("kinds.")?.split_once('.')
}

/// Returns texts, secrets and templates as they are given: parsed as numbers, `007`, `+49` and `1e3` would change.
fn verbatim(default: &BTreeMap<String, Value>, variables: &Variables) -> BTreeMap<String, Value> {
    let is_text = |key: &str, default: &Value| {
        matches!(default.kind, ValueKind::String(_)) || redact::SOURCES.contains(&key)
    };
    let texts = default.iter().filter(|(key, default)| is_text(key, default)).filter_map(|(key, _)| {
        let value = variables.get(&variable(key))?;
        Some((key.clone(), Value::from(value.as_str())))
    });
    let of_kinds = variables.iter().filter_map(|(name, value)| {
        let key = name.to_lowercase().strip_prefix("bday__")?.replace("__", ".");
        key.starts_with("kinds.").then(|| (templates::canonical(&key), Value::from(value.as_str())))
    });
    texts.chain(of_kinds).collect()
}

/// Errors name the file by the path that the user gave.
fn read_file(path: &Path) -> Result<BTreeMap<String, Value>, ConfigError> {
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
    let mut flattened = BTreeMap::new();
    flatten("", table, &mut flattened);
    let (mut keys, mut errors) = (BTreeMap::new(), Vec::new());
    for (key, value) in flattened {
        let canonical = templates::canonical(&key);
        if keys.insert(canonical.clone(), value).is_some() {
            errors.push(format!("{key} is given twice, as locales are not case-sensitive: remove one"));
        }
    }
    if errors.is_empty() { Ok(keys) } else { Err(ConfigError::Invalid(errors)) }
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
    format!("BDAY__{}", key.replace('.', "__").replace('-', "_").to_uppercase())
}

fn unreadable(error: &config::ConfigError) -> ConfigError {
    ConfigError::Unreadable(match error {
        config::ConfigError::FileParse { cause, .. } => without_source_line(&cause.to_string()),
        error => error.to_string(),
    })
}

/// Removes the source line from the error of a parser, because the line may contain a secret.
///
/// ```text
/// TOML parse error at line 2, column 12
///   |
/// 2 | password = hunter2
///   |            ^^^^^^^
/// string values must be quoted, expected literal string
/// ```
fn without_source_line(error: &str) -> String {
    let lines: Vec<&str> = error.trim_end().lines().collect();
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

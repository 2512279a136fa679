//! Many questions as NDJSON: a line in, a line out, in order, with memory for one line.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{self, Defaults, MAX_YEARS, Request};
use crate::calendar::Occurrence;

/// The longest line that is read; a sensible one has about 100 bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// How much is read and written at once.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

const FIELDS: &str = "birthDate, timeZone, sendAt, leapDay, from and years";

/// Why a line has no answer.
#[derive(Debug, Serialize)]
struct Refusal {
    error: String,
    /// The field at fault; `None` when the line as a whole is.
    field: Option<String>,
    /// Counted from 1.
    line: u64,
}

/// Answers every line of `input`, blank ones with an error too, so that line N answers line N.
///
/// Flushes whenever it must wait for more, so that a program can ask and read in turns.
pub(super) fn answer(
    input: &mut BufReader<impl Read>,
    out: &mut impl Write,
    defaults: &Defaults,
) -> anyhow::Result<ExitCode> {
    let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut line = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for number in 1.. {
        if input.buffer().is_empty() {
            out.flush()?;
        }
        let answer = match read_line(input, &mut line).context("cannot read the input")? {
            Line::End => break,
            Line::Whole => parse(&line, defaults),
            Line::TooLong => Err(Fault::line(format!("a line has at most {MAX_LINE_BYTES} bytes"))),
        };
        match answer {
            Ok(request) => {
                let occurrences: Vec<Occurrence> = request.occurrences().collect();
                serde_json::to_writer(&mut out, &occurrences)
            }
            Err(Fault { error, field }) => {
                code = ExitCode::FAILURE;
                serde_json::to_writer(&mut out, &Refusal { error, field, line: number })
            }
        }
        .map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(code)
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads a line without its end into `line`; of one too long, at most the limit is ever in memory.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let limit = MAX_LINE_BYTES as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE_BYTES {
        input.skip_until(b'\n')?;
        return Ok(Line::TooLong);
    }
    Ok(Line::Whole)
}

struct Fault {
    error: String,
    field: Option<String>,
}

impl Fault {
    fn line(error: String) -> Self {
        Self { error, field: None }
    }

    fn field(field: &str, error: impl fmt::Display) -> Self {
        Self { error: error.to_string(), field: Some(field.to_owned()) }
    }
}

fn parse(line: &[u8], defaults: &Defaults) -> Result<Request, Fault> {
    if line.trim_ascii().is_empty() {
        return Err(Fault::line("the line is empty: expected a JSON object".to_owned()));
    }
    let Fields(fields) = serde_json::from_slice(line).map_err(|error| Fault::line(not_an_object(&error)))?;
    let mut defaults = *defaults;
    let (mut date, mut zone) = (None, None);
    let mut seen: Vec<&str> = Vec::with_capacity(fields.len());
    for (name, value) in &fields {
        if seen.contains(&name.as_str()) {
            return Err(Fault::field(name, "the field comes twice"));
        }
        seen.push(name);
        match name.as_str() {
            "birthDate" => date = read(name, value)?,
            "timeZone" => zone = read(name, value)?,
            "sendAt" => defaults.send_at = read(name, value)?.unwrap_or(defaults.send_at),
            "leapDay" => defaults.leap_day = read(name, value)?.unwrap_or(defaults.leap_day),
            "from" => defaults.from = read(name, value)?.map(|Day(day)| day).or(defaults.from),
            "years" => defaults.years = read(name, value)?.map_or(defaults.years, |Years(years)| years),
            _ => {
                return Err(Fault::field(name, format!("unknown field: the fields are {FIELDS}")));
            }
        }
    }
    let date = date.ok_or_else(|| Fault::field("birthDate", "missing: expected YYYY-MM-DD or --MM-DD"))?;
    let zone =
        zone.ok_or_else(|| Fault::field("timeZone", "missing: expected an IANA name such as Europe/Berlin"))?;
    Ok(Request::new(date, zone, &defaults))
}

/// serde's text ends with a position whose line is always 1, beside our `line` a contradiction.
fn not_an_object(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("not a JSON object: {what} (column {})", error.column())
}

/// A field's value; null is as good as absent.
fn read<T: DeserializeOwned>(name: &str, value: &Value) -> Result<Option<T>, Fault> {
    Option::deserialize(value).map_err(|error| Fault::field(name, error))
}

/// An object's fields as they come, doubles and all: serde's derive would name the field only within a sentence.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::with_capacity(6);
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

struct Day(chrono::NaiveDate);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        request::day(&text).map(Self).map_err(de::Error::custom)
    }
}

struct Years(u16);

impl<'de> Deserialize<'de> for Years {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u16::deserialize(deserializer)
            .ok()
            .filter(|years| (1..=MAX_YEARS).contains(years))
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("expected a whole number from 1 to {MAX_YEARS}")))
    }
}

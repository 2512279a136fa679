//! NDJSON requests: one answer a line, in order, with memory for one line.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use chrono::{DateTime, NaiveDate, Utc};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MAX_YEARS, Request, RequestOptions, day};
use crate::calendar::Occurrence;

/// A typical line has about 100 bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Why a line has no answer.
#[derive(Debug, Serialize)]
struct LineError {
    error: String,
    /// `None` for the line as a whole.
    field: Option<String>,
    /// Counted from 1.
    line: u64,
}

impl LineError {
    fn whole(error: String) -> Self {
        Self { error, field: None, line: 0 }
    }

    fn field(field: &str, error: &(impl ToString + ?Sized)) -> Self {
        Self { field: Some(field.to_owned()), ..Self::whole(error.to_string()) }
    }
}

/// Answers every line of `input`, blank ones with an error, so that answer N is for line N.
///
/// Flushes before it waits for input, so that a program can write a request and read its answer in turns.
pub(super) fn answer(
    input: impl Read,
    out: &mut impl Write,
    defaults: RequestOptions,
    now: DateTime<Utc>,
) -> Result<ExitCode> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut line = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for number in 1.. {
        if input.buffer().is_empty() {
            out.flush()?;
        }
        if !read_line(&mut input, &mut line).context("cannot read the input")? {
            break;
        }
        match parse(&line, defaults) {
            Ok(request) => write_occurrences(&mut out, &request, now)?,
            Err(error) => {
                code = ExitCode::FAILURE;
                write_json(&mut out, &LineError { line: number, ..error })?;
            }
        }
    }
    out.flush()?;
    Ok(code)
}

/// Writes the occurrences as a JSON array on a line.
pub(super) fn write_occurrences(
    out: &mut impl Write,
    request: &Request,
    now: DateTime<Utc>,
) -> io::Result<()> {
    write_json(out, &request.occurrences(now).collect::<Vec<Occurrence>>())
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads a line without its end, and at most one byte more than the limit of it; false at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let limit = MAX_LINE_BYTES as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE_BYTES {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

fn parse(line: &[u8], mut options: RequestOptions) -> Result<Request, LineError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(LineError::whole(format!("the line is longer than {MAX_LINE_BYTES} bytes")));
    }
    if line.trim_ascii().is_empty() {
        return Err(LineError::whole("the line is empty: expected a JSON object".to_owned()));
    }
    let Fields(fields) =
        serde_json::from_slice(line).map_err(|error| LineError::whole(not_an_object(&error)))?;
    let (mut date, mut zone) = (None, None);
    for (index, (name, value)) in fields.iter().enumerate() {
        if fields[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(LineError::field(name, "duplicate field"));
        }
        match name.as_str() {
            "birthDate" => date = read(name, value)?,
            "timeZone" => zone = read(name, value)?,
            "sendAt" => options.send_at = read(name, value)?.unwrap_or(options.send_at),
            "leapDay" => options.leap_day = read(name, value)?.unwrap_or(options.leap_day),
            "from" => options.from = read(name, value)?.map(|Day(from)| from).or(options.from),
            "years" => options.years = read(name, value)?.map_or(options.years, |Years(years)| years),
            _ => {
                let error = "unknown field: expected birthDate, timeZone, sendAt, leapDay, from or years";
                return Err(LineError::field(name, error));
            }
        }
    }
    let missing = |field, expected| LineError::field(field, &format!("missing: expected {expected}"));
    let date = date.ok_or_else(|| missing("birthDate", "YYYY-MM-DD or --MM-DD"))?;
    let zone = zone.ok_or_else(|| missing("timeZone", "an IANA name such as Europe/Berlin"))?;
    Ok(Request { date, zone, options })
}

/// Drops serde's position: its line is always 1, which contradicts `line`.
fn not_an_object(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.split_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
    format!("not a JSON object: {problem} (column {})", error.column())
}

/// Reads a field's value; null is the same as absent.
fn read<T: DeserializeOwned>(name: &str, value: &Value) -> Result<Option<T>, LineError> {
    Option::deserialize(value).map_err(|error| LineError::field(name, &error))
}

/// The fields of an object in order, duplicates included: the error of a derived struct does not have the field by itself.
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

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Day(NaiveDate);

impl TryFrom<String> for Day {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        day(&text).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct Years(u16);

impl TryFrom<Value> for Years {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let years = value.as_u64().filter(|years| (1..=u64::from(MAX_YEARS)).contains(years));
        let years = years.ok_or_else(|| format!("expected a whole number from 1 to {MAX_YEARS}"))?;
        Ok(Self(years as u16))
    }
}

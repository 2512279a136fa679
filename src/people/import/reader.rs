use std::io::BufRead;

use tokio::sync::mpsc;

use super::csv::{CsvParser, HeaderError};
use super::format::ImportFormat;
use super::lines::{Line, Lines};
use super::ndjson;
use super::report::{Columns, ImportError};
use super::user::ImportedUser;
use super::vcard::{self, Card, CardSplitter};
use crate::calendar::{Zone, latest_today};
use crate::clock::SharedClock;
use crate::model::Schedule;

/// An error can contain the whole line.
const MAX_REASON_BYTES: usize = 2000;

/// A part of the file.
#[derive(Debug)]
pub(super) enum Part {
    /// The line before the rows of a CSV file.
    Header(Vec<u8>),
    Row(ParsedRow),
}

#[derive(Debug)]
pub(super) struct ParsedRow {
    /// The number of its first line.
    pub(super) line: u64,
    pub(super) user: Result<Box<ImportedUser>, String>,
    /// The row as in the file, without its line end, if it may be rejected and rejected rows are wanted. Empty if it is too long.
    pub(super) text: Vec<u8>,
}

pub(super) struct Reader {
    pub(super) schedule: Schedule,
    pub(super) clock: SharedClock,
    /// The zone of vCards without one.
    pub(super) time_zone: Option<Zone>,
    /// Whether rejected rows are wanted.
    pub(super) keeps_rows: bool,
    pub(super) parts: mpsc::Sender<Part>,
}

enum Parser {
    CsvHeader,
    Csv(CsvParser),
    Ndjson,
    Vcard(CardSplitter),
}

impl Parser {
    fn new(format: ImportFormat) -> Self {
        match format {
            ImportFormat::Csv => Self::CsvHeader,
            ImportFormat::Ndjson => Self::Ndjson,
            ImportFormat::Vcard => Self::Vcard(CardSplitter::default()),
        }
    }

    fn columns(self) -> Columns {
        match self {
            Self::CsvHeader | Self::Ndjson => Columns::default(),
            Self::Csv(parser) => Columns { recognised: parser.names(), ignored: Vec::new() },
            Self::Vcard(splitter) => {
                let names = splitter.names().into_iter().filter(|name| name != "VERSION");
                let is_read = |name: &String| vcard::PROPERTIES.contains(&name.as_str());
                let (recognised, ignored) = names.partition(is_read);
                Columns { recognised, ignored }
            }
        }
    }
}

impl Reader {
    /// Sends every row until the receiver is dropped, and returns the columns. Calls `progress` with the bytes read. Blocks.
    pub(super) fn read(
        &self,
        format: ImportFormat,
        input: impl BufRead,
        progress: impl Fn(u64),
    ) -> Result<Columns, ImportError> {
        let mut lines = Lines::new(input);
        let mut parser = Parser::new(format);
        loop {
            let number = lines.number() + 1;
            let line = lines.next_line().map_err(|source| ImportError::Read { line: number - 1, source })?;
            let is_last = line.is_none();
            let part = match line {
                Some(line) => self.parse(&mut parser, number, &line)?,
                None => self.finish(&mut parser)?,
            };
            if number.is_multiple_of(1000) {
                progress(lines.bytes());
            }
            let is_wanted = part.is_none_or(|part| self.parts.blocking_send(part).is_ok());
            if is_last || !is_wanted {
                return Ok(parser.columns());
            }
        }
    }

    /// Returns none for a blank line, and within a card.
    fn parse(&self, parser: &mut Parser, number: u64, line: &Line<'_>) -> Result<Option<Part>, HeaderError> {
        if let Parser::Vcard(splitter) = parser {
            return Ok(splitter.add(number, line).map(|card| self.card(card)));
        }
        let text = match (line, &*parser) {
            (Line::Text(text), _) => *text,
            (other, Parser::CsvHeader) => return Err(HeaderError::Line(other.error())),
            (other, _) => return Ok(Some(self.row(number, other, Err(other.error())))),
        };
        let today = latest_today(self.clock.now());
        let parsed = match parser {
            Parser::CsvHeader => {
                *parser = Parser::Csv(CsvParser::new(text, &self.schedule)?);
                return Ok(self.keeps_rows.then(|| Part::Header(text.into())));
            }
            _ if text.trim_ascii().is_empty() => return Ok(None),
            Parser::Csv(parser) => parser.parse(text, &self.schedule, today),
            Parser::Ndjson | Parser::Vcard(_) => ndjson::parse(text, &self.schedule, today),
        };
        Ok(Some(self.row(number, line, parsed)))
    }

    fn finish(&self, parser: &mut Parser) -> Result<Option<Part>, HeaderError> {
        match parser {
            Parser::CsvHeader => Err(HeaderError::Empty),
            Parser::Vcard(splitter) => Ok(splitter.finish().map(|card| self.card(card))),
            Parser::Csv(_) | Parser::Ndjson => Ok(None),
        }
    }

    fn row(&self, number: u64, line: &Line<'_>, user: Result<ImportedUser, String>) -> Part {
        // Of the valid rows, only those with an id can still be rejected, by the database.
        let may_be_rejected = !matches!(&user, Ok(user) if user.id.is_none());
        let text = match line {
            Line::TooLong { .. } => Vec::new(),
            line if self.keeps_rows && may_be_rejected => line.bytes().to_vec(),
            _ => Vec::new(),
        };
        Part::Row(ParsedRow { line: number, user: user.map(Box::new).map_err(shorten), text })
    }

    fn card(&self, card: Card) -> Part {
        let Card { line, text, error } = card;
        let parsed = match (error, std::str::from_utf8(&text)) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(error.to_string()),
            (None, Ok(text)) => {
                vcard::parse(text, self.time_zone, &self.schedule, latest_today(self.clock.now()))
            }
        };
        let is_kept = self.keeps_rows && parsed.is_err();
        let text = if is_kept { text } else { Vec::new() };
        Part::Row(ParsedRow { line, user: parsed.map(Box::new).map_err(shorten), text })
    }
}

fn shorten(mut reason: String) -> String {
    if reason.len() > MAX_REASON_BYTES {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        reason.push('…');
        reason.shrink_to_fit();
    }
    reason
}

use std::io::BufRead;

use tokio::sync::mpsc;

use super::csv::{CsvParser, HeaderError};
use super::lines::{Line, Lines};
use super::ndjson;
use super::report::ImportError;
use super::user::ImportedUser;
use crate::calendar::latest_today;
use crate::clock::SharedClock;
use crate::model::Schedule;
use crate::people::file_format::FileFormat;

/// The number of a line, and its user or its error.
pub(super) type ParsedLine = (u64, Result<Box<ImportedUser>, String>);

/// An error can contain the whole line.
const MAX_REASON_BYTES: usize = 2000;

pub(super) struct Reader {
    pub(super) schedule: Schedule,
    pub(super) clock: SharedClock,
    pub(super) parsed: mpsc::Sender<ParsedLine>,
}

enum Parser {
    CsvHeader,
    Csv(CsvParser),
    Ndjson,
}

impl Reader {
    /// Sends every line until the receiver is dropped. Calls `progress` with the bytes read. Blocks.
    pub(super) fn read(
        &self,
        format: FileFormat,
        input: impl BufRead,
        progress: impl Fn(u64),
    ) -> Result<(), ImportError> {
        let mut lines = Lines::new(input);
        let mut parser = match format {
            FileFormat::Csv => Parser::CsvHeader,
            FileFormat::Ndjson => Parser::Ndjson,
        };
        loop {
            let number = lines.number() + 1;
            let line = lines.next_line().map_err(|source| ImportError::Read { line: number - 1, source })?;
            let Some(line) = line else {
                let header_missing = matches!(parser, Parser::CsvHeader);
                return if header_missing { Err(HeaderError::Empty.into()) } else { Ok(()) };
            };
            let Some(parsed) = self.parse(&mut parser, &line)? else { continue };
            if number.is_multiple_of(1000) {
                progress(lines.bytes());
            }
            if self.parsed.blocking_send((number, parsed.map(Box::new).map_err(shorten))).is_err() {
                return Ok(());
            }
        }
    }

    /// Returns none for a header and for a blank line.
    fn parse(
        &self,
        parser: &mut Parser,
        line: &Line<'_>,
    ) -> Result<Option<Result<ImportedUser, String>>, HeaderError> {
        let text = match (line, &*parser) {
            (Line::Text(text), _) => *text,
            (other, Parser::CsvHeader) => return Err(HeaderError::Line(other.error())),
            (other, _) => return Ok(Some(Err(other.error()))),
        };
        match parser {
            Parser::CsvHeader => {
                *parser = Parser::Csv(CsvParser::new(text, &self.schedule)?);
                Ok(None)
            }
            _ if text.trim_ascii().is_empty() => Ok(None),
            Parser::Csv(parser) => {
                Ok(Some(parser.parse(text, &self.schedule, latest_today(self.clock.now()))))
            }
            Parser::Ndjson => Ok(Some(ndjson::parse(text, &self.schedule, latest_today(self.clock.now())))),
        }
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

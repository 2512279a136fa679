//! The rules, said to people.

use super::{AnnualDate, LeapDay, Occurrence, Rule, SendAt};

impl Occurrence {
    /// Why this occurrence of `date` is not simply "that date, at `send_at`"; none where it is.
    #[must_use]
    pub fn in_words(&self, date: AnnualDate, send_at: SendAt, leap_day: LeapDay) -> Option<String> {
        let year = self.local_year;
        Some(match self.rule? {
            Rule::LeapDay if leap_day == LeapDay::Mar1 => {
                format!("{year} has no 29 February: 1 March (mar1)")
            }
            Rule::LeapDay => format!("{year} has no 29 February: the 28th (feb28)"),
            Rule::Gap => format!("the clock skips {send_at}: as far after the gap's start as {send_at} is"),
            Rule::Overlap => format!("the clock shows {send_at} twice: the first time"),
            Rule::MissingDate => format!(
                "{year:04}-{:02}-{:02} does not exist there: the next day that does",
                date.month(),
                date.day()
            ),
        })
    }
}

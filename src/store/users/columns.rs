//! Users column by column, for a statement that writes many.

use chrono::NaiveTime;
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::super::Result;
use crate::calendar::{LeapDay, SendAt};
use crate::model::NewUser;

/// See the module; extended by users, each with its id.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    ids: Vec<Uuid>,
    external_ids: Vec<Option<&'a str>>,
    first_names: Vec<&'a str>,
    last_names: Vec<&'a str>,
    time_zones: Vec<&'a str>,
    send_ats: Vec<Option<NaiveTime>>,
    leap_days: Vec<Option<&'a str>>,
}

impl<'a> Extend<(Uuid, &'a NewUser)> for Columns<'a> {
    fn extend<I: IntoIterator<Item = (Uuid, &'a NewUser)>>(&mut self, users: I) {
        for (id, user) in users {
            self.ids.push(id);
            self.external_ids.push(user.external_id.as_deref());
            self.first_names.push(&user.first_name);
            self.last_names.push(&user.last_name);
            self.time_zones.push(user.time_zone.name());
            self.send_ats.push(user.send_at.map(SendAt::time));
            self.leap_days.push(user.leap_day.map(LeapDay::as_str));
        }
    }
}

impl Columns<'_> {
    /// The parameters $1 to $7: `uuid[]`, `text[]` four times, `time[]`, `text[]`.
    ///
    /// # Errors
    /// One cannot be written as its type.
    pub(super) fn arguments(&self) -> Result<PgArguments> {
        let mut arguments = PgArguments::default();
        arguments
            .add(&self.ids)
            .and_then(|()| arguments.add(&self.external_ids))
            .and_then(|()| arguments.add(&self.first_names))
            .and_then(|()| arguments.add(&self.last_names))
            .and_then(|()| arguments.add(&self.time_zones))
            .and_then(|()| arguments.add(&self.send_ats))
            .and_then(|()| arguments.add(&self.leap_days))
            .map_err(sqlx::Error::Encode)?;
        Ok(arguments)
    }
}

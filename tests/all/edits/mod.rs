//! Edits at any time never cause two greetings in a local year. The tests set the clock; the receiver, the database and all
//! stages are real.

mod at_once;
mod dates;
mod kinds;
mod leaving;
mod random;
mod zones;

use std::collections::BTreeMap;

use bday::clock::Clock as _;
use bday::model::NewUser;
use bday::store::{DeleteOutcome, UserRef};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::support::world::{World, instant};

impl World {
    /// Advances the clock to `end`, with a tick every twelve hours and one at `end`.
    async fn live_until(&self, end: &str) {
        let end = instant(end);
        while self.clock.now() < end {
            let next = self.clock.now() + TimeDelta::hours(12);
            self.clock.set(next.min(end));
            self.minute().await;
        }
    }

    /// Edits the user with `external_id`.
    async fn change(&self, external_id: &str, edit: impl FnOnce(&mut NewUser)) {
        let who = UserRef::External(external_id);
        let user = self.store.user(who).await.unwrap().unwrap();
        let mut new = NewUser {
            external_id: user.external_id.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            birth_date: user.birth_date,
            time_zone: user.time_zone,
            send_at: user.send_at,
            leap_day: user.leap_day,
            locale: user.locale.clone(),
            addresses: BTreeMap::new(),
            occasions: BTreeMap::new(),
        };
        edit(&mut new);
        let schedule = self.config.schedule();
        self.store.edit_user(&schedule, self.clock.now(), who, |_| Ok::<_, ()>(new)).await.unwrap();
    }

    async fn move_to(&self, external_id: &str, zone: &str) {
        self.change(external_id, |user| user.time_zone = zone.parse().unwrap()).await;
    }

    async fn correct(&self, external_id: &str, birth_date: &str) {
        self.change(external_id, |user| user.birth_date = birth_date.parse().unwrap()).await;
    }

    async fn delete(&self, user: Uuid) {
        let deleted = self.store.delete_user(self.clock.now(), UserRef::Id(user), None, None).await;
        assert_eq!(deleted.unwrap(), DeleteOutcome::Deleted(user));
    }

    /// The number of greetings of each user.
    fn greetings_by_user(&self) -> BTreeMap<String, usize> {
        self.greetings();
        let mut by_user = BTreeMap::new();
        for record in self.receiver.records().iter().filter(|record| record.accepted) {
            let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap();
            *by_user.entry(body["userId"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        by_user
    }
}

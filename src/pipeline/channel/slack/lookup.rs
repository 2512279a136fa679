//! Ids of users by email address: `users.lookupByEmail`, and what it answered before.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::api::{self, FORM};
use super::codes::{Step, classify};
use super::{Bot, codes};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};
use crate::pipeline::channel::http_client::HttpClient;
use crate::pipeline::channel::http_error::classify_error;
use crate::pipeline::channel::{Disposition, SendResult};

/// For retries and further kinds on the same day.
const LIFETIME: TimeDelta = TimeDelta::hours(1);
const MAX_USERS: usize = 10_000;

/// Looks up the active user with this email address. The result of a failure says that nothing was posted.
pub(super) async fn user_id(
    client: &HttpClient,
    bot: &Bot,
    clock: &SharedClock,
    email: &str,
    timeout: Duration,
) -> Result<String, Box<SendResult>> {
    // In a form, not in the URL: proxies log URLs.
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("email", email).finish();
    let call = api::call(client, bot, clock, "users.lookupByEmail", (FORM, form.into_bytes()));
    let answer = match tokio::time::timeout(timeout, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Box::new(nothing_posted(classify_error(&error)))),
        Err(_) => return Err(Box::new(timed_out(timeout))),
    };
    let status = answer.status;
    let json = answer.into_success(Step::Lookup)?;
    let user = &json["user"];
    match user["id"].as_str() {
        Some(_) if user["deleted"] == true => {
            Err(Box::new(classify(Step::Lookup, status, Some(codes::LOOKUP_BY_EMAIL[0].code), None)))
        }
        Some(id) => Ok(id.to_owned()),
        None => Err(Box::new(classify(Step::Lookup, status, None, None))),
    }
}

fn timed_out(timeout: Duration) -> SendResult {
    let text = format!("no response within {} s", timeout.as_secs_f32());
    nothing_posted(SendResult::failed(
        AttemptOutcome::Failed,
        Disposition::Retry(None),
        Reason::Timeout,
        text,
    ))
}

fn nothing_posted(failed: SendResult) -> SendResult {
    let error = failed.error.map(|error| format!("{}: {error}; nothing was posted", Step::Lookup.name()));
    SendResult { outcome: AttemptOutcome::Failed, error, ..failed }
}

/// The ids found in the last hour. Bounded.
#[derive(Default)]
pub(super) struct Users(Mutex<Found>);

#[derive(Default)]
struct Found {
    /// The ids belong to its workspace.
    bot: Option<Bot>,
    by_email: HashMap<String, (String, DateTime<Utc>)>,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl Users {
    pub(super) fn get(&self, bot: &Bot, email: &str, now: DateTime<Utc>) -> Option<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, at) = found.by_email.get(email).filter(|_| found.bot.as_ref() == Some(bot))?;
        is_fresh(*at, now).then(|| id.clone())
    }

    pub(super) fn insert(&self, bot: &Bot, email: &str, id: &str, now: DateTime<Utc>) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.bot.as_ref() != Some(bot) {
            *found = Found { bot: Some(bot.clone()), by_email: HashMap::new() };
        }
        if found.by_email.len() >= MAX_USERS {
            found.by_email.retain(|_, (_, at)| is_fresh(*at, now));
        }
        if found.by_email.len() >= MAX_USERS {
            found.by_email.clear();
        }
        found.by_email.insert(email.to_owned(), (id.to_owned(), now));
    }
}

/// Also false if the clock was set back.
fn is_fresh(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    (TimeDelta::zero()..LIFETIME).contains(&(now - at))
}

#[cfg(test)]
mod tests {
    use super::super::Token;
    use super::*;

    fn bot(token: &str) -> Bot {
        Bot { api: "https://slack.com/api/".parse().expect("a URL"), token: Token::new(token) }
    }

    #[test]
    fn ids_expire_and_belong_to_a_token() {
        let (users, now) = (Users::default(), DateTime::UNIX_EPOCH);
        users.insert(&bot("a"), "ada@example.org", "U1", now);
        let get =
            |token, seconds| users.get(&bot(token), "ada@example.org", now + TimeDelta::seconds(seconds));
        assert_eq!(get("a", 3599), Some("U1".to_owned()));
        assert_eq!(get("a", 3600), None);
        assert_eq!(get("a", -1), None);
        assert_eq!(get("b", 0), None);
        users.insert(&bot("b"), "other@example.org", "U2", now);
        assert_eq!(get("b", 0), None);
        assert_eq!(get("a", 0), None);
    }

    #[test]
    fn the_number_of_ids_is_bounded() {
        let (users, now) = (Users::default(), DateTime::UNIX_EPOCH);
        for n in 0..MAX_USERS + 5 {
            users.insert(&bot("a"), &format!("{n}@example.org"), "U1", now);
            assert!(users.0.lock().expect("a lock").by_email.len() <= MAX_USERS);
        }
        assert_eq!(users.get(&bot("a"), "10004@example.org", now), Some("U1".to_owned()));
        let later = now + LIFETIME;
        users.insert(&bot("a"), "new@example.org", "U2", later);
        assert_eq!(users.get(&bot("a"), "new@example.org", later), Some("U2".to_owned()));
    }
}

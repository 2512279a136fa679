//! Searches users by the beginning of a name or of an external id, in the order of the matching text: each text has an index, of
//! which a page reads a bounded part. The order of ids would sort all matches.

use std::collections::HashMap;
use std::fmt::Write as _;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::read::{page, users_with_dates};
use crate::calendar::Zone;
use crate::model::User;
use crate::store::{Result, Store};

const SEARCHED_TEXTS: [&str; 3] = [
    r#"lower(u.first_name || ' ' || u.last_name) COLLATE "C""#,
    r#"lower(u.last_name) COLLATE "C""#,
    r#"lower(u.external_id) COLLATE "C""#,
];

/// Matches read at once if a zone is given: most may be in other zones.
const BATCH_IN_ZONE: u32 = 2000;
/// A page reads 20,000 matches at most, and may then have fewer users than `limit`.
const MAX_BATCHES: u32 = 10;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchCursor {
    pub key: String,
    pub id: Uuid,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPage {
    /// By matching text, without users whom this version cannot read.
    pub users: Vec<User>,
    pub next: Option<SearchCursor>,
}

#[derive(Debug, sqlx::FromRow)]
struct Match {
    key: String,
    id: Uuid,
    time_zone: String,
    /// Whether no smaller text of the same user matches; other matches are left out.
    is_first: bool,
}

impl Store {
    /// Returns up to `limit` users after `after` whose "first name, blank, last name", last name or external id begins with `search`
    /// (case-insensitive), in `zone`, if given.
    pub async fn search_users(
        &self,
        search: &str,
        zone: Option<Zone>,
        after: SearchCursor,
        limit: u32,
    ) -> Result<SearchPage> {
        Box::pin(self.in_time(async {
            let (ids, next) = self.matching(search, zone, after, limit).await?;
            let mut query = users_with_dates(|query| {
                query.push(" WHERE u.id = ANY(").push_bind(&ids).push(")");
            });
            let rows = query.build().fetch_all(&self.pool).await?;
            let mut users = page(&rows, limit)?.users;
            let positions: HashMap<Uuid, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
            users.sort_by_key(|user| positions.get(&user.id));
            Ok(SearchPage { users, next })
        }))
        .await
    }

    async fn matching(
        &self,
        search: &str,
        zone: Option<Zone>,
        mut after: SearchCursor,
        limit: u32,
    ) -> Result<(Vec<Uuid>, Option<SearchCursor>)> {
        let at_once = if zone.is_some() { BATCH_IN_ZONE } else { limit + 1 };
        let statement = statement(at_once);
        let mut ids = Vec::new();
        let mut next = after.clone();
        for _ in 0..MAX_BATCHES {
            let matches: Vec<Match> = sqlx::query_as(AssertSqlSafe(statement.as_str()))
                .bind(search)
                .bind(&after.key)
                .bind(after.id)
                .fetch_all(&self.pool)
                .await?;
            let is_last = matches.len() < at_once as usize;
            for found in matches {
                let Match { key, id, .. } = found;
                let in_zone = zone.is_none_or(|zone| zone.name() == found.time_zone);
                after = SearchCursor { key, id };
                // Two equal texts of one user are adjacent.
                if !found.is_first || !in_zone || ids.last() == Some(&id) {
                    continue;
                }
                if ids.len() == limit as usize {
                    return Ok((ids, Some(next)));
                }
                ids.push(id);
                next = after.clone();
            }
            if is_last {
                return Ok((ids, None));
            }
        }
        Ok((ids, Some(after)))
    }
}

fn statement(at_once: u32) -> String {
    let mut statement = "SELECT key, id, time_zone, is_first FROM (".to_owned();
    for (at, key) in SEARCHED_TEXTS.iter().enumerate() {
        let union = if at > 0 { " UNION ALL " } else { "" };
        let _ = write!(statement, "{union}(SELECT {key} AS key, u.id, u.time_zone, true");
        for other in SEARCHED_TEXTS.iter().filter(|other| *other != key) {
            let _ = write!(statement, " AND NOT coalesce({other} >= lower($1) AND {other} < {key}, false)");
        }
        // One lower bound: of two, PostgreSQL may begin to read the index at the smaller one.
        let _ = write!(
            statement,
            r#" AS is_first FROM users u
              WHERE ({key}, u.id) > (greatest($2 COLLATE "C", lower($1)), $3) AND {key} < lower($1) || U&'\+10FFFF'
              ORDER BY {key}, u.id LIMIT {at_once})"#
        );
    }
    // As text: for a limit in a parameter, PostgreSQL assumes a large number, and plans each time anew.
    let _ = write!(statement, r#") m ORDER BY key COLLATE "C", id LIMIT {at_once}"#);
    statement
}

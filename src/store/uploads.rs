//! Files that the console received for an import, in chunks: see `migrations/0020_uploads.sql`.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Result, Store};

/// The bytes of a chunk; the last one may have fewer.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Uploads that exist at a time: one more is refused.
pub const MAX_UPLOADS: i64 = 20;
/// Uploads of one token: the oldest is deleted for one more.
const MAX_UPLOADS_OF_ACTOR: i64 = 3;
/// An upload is deleted after this time.
pub const UPLOAD_TIME: TimeDelta = TimeDelta::hours(1);

#[derive(Debug, Clone, Copy)]
pub struct NewUpload<'a> {
    pub id: Uuid,
    /// The name of the token; none without sign-in.
    pub actor: Option<&'a str>,
    pub file_name: &'a str,
    pub media_type: &'a str,
    /// The zone of vCards without one.
    pub time_zone: Option<&'a str>,
}

/// An upload that is complete and was checked.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Upload {
    pub id: Uuid,
    pub file_name: String,
    pub media_type: String,
    pub time_zone: Option<String>,
    pub created_at: DateTime<Utc>,
    pub chunks: i32,
    /// The report of the dry run, as JSON.
    pub dry_run: String,
    /// The report of the import, as JSON; none before.
    pub result: Option<String>,
    /// Whether the file is stored.
    pub is_stored: bool,
}

const DELETE_SURPLUS: &str = "
DELETE FROM uploads WHERE created_at < $1 OR id IN (
    SELECT id FROM uploads WHERE actor IS NOT DISTINCT FROM $2 ORDER BY created_at DESC, id DESC OFFSET $3 - 1)";

const CREATE: &str = "
INSERT INTO uploads (id, actor, file_name, media_type, time_zone, created_at)
SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM uploads) < $7";

const FIND: &str = "
SELECT id, file_name, media_type, time_zone, created_at, chunks, dry_run, result,
       EXISTS (SELECT FROM upload_chunks WHERE upload_id = id) AS is_stored
FROM uploads WHERE id = $1 AND actor IS NOT DISTINCT FROM $2 AND created_at >= $3 AND dry_run IS NOT NULL";

impl Store {
    /// Begins an upload. Returns false if there are [`MAX_UPLOADS`].
    pub async fn create_upload(&self, now: DateTime<Utc>, upload: NewUpload<'_>) -> Result<bool> {
        self.in_time(async {
            let mut transaction = self.begin().await?;
            sqlx::query(DELETE_SURPLUS)
                .bind(now - UPLOAD_TIME)
                .bind(upload.actor)
                .bind(MAX_UPLOADS_OF_ACTOR)
                .execute(&mut *transaction)
                .await?;
            let created = sqlx::query(CREATE)
                .bind(upload.id)
                .bind(upload.actor)
                .bind(upload.file_name)
                .bind(upload.media_type)
                .bind(upload.time_zone)
                .bind(now)
                .bind(MAX_UPLOADS)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(created.rows_affected() > 0)
        })
        .await
    }

    pub async fn add_upload_chunk(&self, upload: Uuid, number: i32, bytes: &[u8]) -> Result<()> {
        let sql = "INSERT INTO upload_chunks (upload_id, number, bytes) VALUES ($1, $2, $3)";
        self.execute(sqlx::query(sql).bind(upload).bind(number).bind(bytes)).await.map(drop)
    }

    /// Stores the report of the dry run of an upload, which is complete with `chunks`.
    pub async fn save_dry_run(&self, upload: Uuid, chunks: i32, report: &str) -> Result<()> {
        let sql = "UPDATE uploads SET chunks = $2, dry_run = $3 WHERE id = $1";
        self.execute(sqlx::query(sql).bind(upload).bind(chunks).bind(report)).await.map(drop)
    }

    /// Returns an upload of `actor`; none if it has expired.
    pub async fn upload(&self, id: Uuid, actor: Option<&str>, now: DateTime<Utc>) -> Result<Option<Upload>> {
        let find = sqlx::query_as(FIND).bind(id).bind(actor).bind(now - UPLOAD_TIME);
        self.run(find.fetch_optional(&self.pool)).await
    }

    pub async fn upload_chunk(&self, upload: Uuid, number: i32) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT bytes FROM upload_chunks WHERE upload_id = $1 AND number = $2";
        self.run(sqlx::query_scalar(sql).bind(upload).bind(number).fetch_optional(&self.pool)).await
    }

    /// Stores the report of the import of an upload, unless it has one. Deletes the file, unless rows of it were rejected.
    pub async fn save_import(&self, upload: Uuid, report: &str, has_rejected_rows: bool) -> Result<()> {
        let sql = "
            WITH file AS (DELETE FROM upload_chunks WHERE upload_id = $1 AND NOT $3)
            UPDATE uploads SET result = $2 WHERE id = $1 AND result IS NULL";
        self.execute(sqlx::query(sql).bind(upload).bind(report).bind(has_rejected_rows)).await.map(drop)
    }

    pub async fn delete_upload(&self, id: Uuid, actor: Option<&str>) -> Result<bool> {
        let sql = "DELETE FROM uploads WHERE id = $1 AND actor IS NOT DISTINCT FROM $2";
        Ok(self.execute(sqlx::query(sql).bind(id).bind(actor)).await? > 0)
    }

    /// Deletes an upload that was not accepted.
    pub async fn drop_upload(&self, id: Uuid) -> Result<()> {
        self.execute(sqlx::query("DELETE FROM uploads WHERE id = $1").bind(id)).await.map(drop)
    }

    pub(super) async fn forget_uploads(&self, now: DateTime<Utc>) -> Result<()> {
        let sql = "DELETE FROM uploads WHERE created_at < $1";
        self.execute(sqlx::query(sql).bind(now - UPLOAD_TIME)).await.map(drop)
    }
}

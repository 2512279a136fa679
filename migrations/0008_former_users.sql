-- Which id belonged to whom: somebody who is deleted and comes back under the same external id gets the same id again,
-- so that "one event per user, kind and year" holds for the person, not only for the row.
CREATE TABLE former_users (
    user_id          uuid PRIMARY KEY,
    -- SHA-256 of the external id, which is deleted with the person.
    external_id_hash bytea NOT NULL,
    deleted_at       timestamptz NOT NULL,

    CONSTRAINT one_former_user_per_external_id UNIQUE (external_id_hash)
);

CREATE INDEX former_users_by_age ON former_users (deleted_at);

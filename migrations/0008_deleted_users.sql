-- Deleted users. A user who returns under the same external id gets the same id, and so at most one event per kind and year.
CREATE TABLE deleted_users (
    user_id          uuid PRIMARY KEY,
    -- Keyed hash of the external id, which is deleted with the user.
    external_id_hash bytea,
    deleted_at       timestamptz NOT NULL,
    -- An event was being delivered at the deletion; its dates are blurred when it has ended.
    blur_pending     boolean NOT NULL,

    CONSTRAINT one_deleted_user_per_external_id UNIQUE (external_id_hash),
    CONSTRAINT an_external_id_hash_is_a_hash CHECK (length(external_id_hash) = 32)
);

CREATE INDEX deleted_users_by_age ON deleted_users (deleted_at);
CREATE INDEX deleted_users_to_blur ON deleted_users (deleted_at) WHERE blur_pending;

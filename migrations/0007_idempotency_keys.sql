-- Answered requests by idempotency key: a repeated request gets the same answer. Stored for a day.
CREATE TABLE idempotency_keys (
    -- Keyed hash of the token and the client's key.
    key          bytea PRIMARY KEY,
    -- Keyed hash of the body. NULL, like user and answer: the user was deleted, and a repeated request does not create it again.
    request_hash bytea,
    user_id      uuid,
    answer       text,
    created_at   timestamptz NOT NULL,

    CONSTRAINT a_key_is_a_hash CHECK (length(key) = 32),
    CONSTRAINT a_request_hash_is_a_hash CHECK (length(request_hash) = 32)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_by_user ON idempotency_keys (user_id) WHERE user_id IS NOT NULL;

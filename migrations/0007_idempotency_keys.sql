-- Requests that were answered, by the key that the client gave them: a repeat gets the same answer. Kept for a day.
CREATE TABLE idempotency_keys (
    key          text PRIMARY KEY,
    -- SHA-256 of the body.
    request_hash bytea NOT NULL,
    -- NULL, like the answer: not seen by others, since both are set in the transaction that writes the row.
    user_id      uuid,
    answer       text,
    created_at   timestamptz NOT NULL,

    CONSTRAINT a_key_is_short CHECK (key <> '' AND length(key) <= 255)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

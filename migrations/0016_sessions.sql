-- Sessions of the console.
CREATE TABLE sessions (
    -- SHA-256 of 256 random bits, which only the browser has.
    hash       bytea PRIMARY KEY,
    token_id   uuid NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    -- To the minute, to limit the writes of a busy session.
    used_at    timestamptz NOT NULL,

    CONSTRAINT a_session_hash_has_32_bytes CHECK (length(hash) = 32)
);

CREATE INDEX sessions_by_token ON sessions (token_id, created_at);

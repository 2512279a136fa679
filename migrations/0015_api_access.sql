-- Tokens of the API.
CREATE TABLE api_tokens (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    scope        text NOT NULL,
    -- SHA-256 of the token. A slow, salted hash would not add protection, since a token has 256 random bits, and could not be looked
    -- up.
    hash         bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    -- To the minute, to limit the writes of a busy token.
    last_used_at timestamptz,
    expires_at   timestamptz,
    revoked_at   timestamptz,

    CONSTRAINT a_token_is_known_by_its_hash UNIQUE (hash),
    CONSTRAINT a_hash_has_32_bytes CHECK (length(hash) = 32),
    CONSTRAINT a_scope_is_known CHECK (scope IN ('calendar', 'read', 'write', 'admin')),
    CONSTRAINT a_token_name_is_short CHECK (name ~ '^[A-Za-z0-9._-]{1,60}$')
);

CREATE UNIQUE INDEX one_live_token_per_name ON api_tokens (name) WHERE revoked_at IS NULL;
-- For the list. Revoked tokens are kept.
CREATE INDEX api_tokens_by_age ON api_tokens (created_at, id);

-- The audit log: requests to the API that changed data, failed or were refused. Without bodies and names of users.
CREATE TABLE api_writes (
    -- The request id of the response and the log.
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- NULL: no token, or the identity comes from a proxy.
    token_id   uuid,
    -- The name of the token, or the identity. NULL: neither.
    token_name text,
    method     text NOT NULL,
    -- The route, such as `/v1/users/{id}`.
    path       text NOT NULL,
    -- The user or event of the request.
    target_id  uuid,
    remote     inet,
    -- NULL: in flight, or the process or the connection ended before the request.
    status     smallint,

    CONSTRAINT a_token_has_a_name CHECK (token_id IS NULL OR token_name IS NOT NULL)
);

CREATE INDEX api_writes_by_age ON api_writes (at, id);
-- For the list with the name of a token, or with an id. A synchronised HR system causes millions of rows.
CREATE INDEX api_writes_by_token ON api_writes (token_name, at, id) WHERE token_name IS NOT NULL;
CREATE INDEX api_writes_by_target ON api_writes (target_id, at, id) WHERE target_id IS NOT NULL;

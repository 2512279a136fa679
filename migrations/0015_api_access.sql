-- Who may use the API.
CREATE TABLE api_tokens (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    scope        text NOT NULL,
    -- SHA-256 of the token, which has 256 random bits: nobody can try them all, so a slow hash with a salt would protect
    -- nothing more, and this one can be looked up.
    hash         bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    -- To the minute, so that a busy token is not a row that is written all the time.
    last_used_at timestamptz,
    expires_at   timestamptz,
    revoked_at   timestamptz,

    CONSTRAINT a_token_is_known_by_its_hash UNIQUE (hash),
    CONSTRAINT a_hash_has_32_bytes CHECK (length(hash) = 32),
    CONSTRAINT a_scope_is_known CHECK (scope IN ('read', 'write', 'admin')),
    CONSTRAINT a_token_name_is_short CHECK (name ~ '^[A-Za-z0-9._-]{1,60}$')
);

CREATE UNIQUE INDEX one_live_token_per_name ON api_tokens (name) WHERE revoked_at IS NULL;

-- Each request to the API that changes something, or was refused when it tried. No bodies, no names of people.
CREATE TABLE api_writes (
    -- The request's id, as in its answer and in the log.
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- Both NULL: without a token.
    token_id   uuid,
    token_name text,
    method     text NOT NULL,
    -- As in the description of the API, `/v1/users/{id}`.
    path       text NOT NULL,
    -- The user or event that it was about, where that has an id.
    target_id  uuid,
    remote     inet,
    -- NULL until the answer is known, and for ever if the process or the connection ended before.
    status     smallint,

    CONSTRAINT a_token_has_id_and_name CHECK ((token_id IS NULL) = (token_name IS NULL))
);

CREATE INDEX api_writes_by_age ON api_writes (at, id);

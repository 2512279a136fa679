-- The key of the hashes (HMAC-SHA256) of personal data: external ids of deleted users, lines of imports, requests. Without it, no
-- id or hash can be computed from a name and a date. One row, inserted once: 244 random bits.
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true,
    key      bytea NOT NULL,

    CONSTRAINT there_is_one_row CHECK (only_row),
    CONSTRAINT a_key_has_32_bytes CHECK (length(key) = 32)
);

INSERT INTO installation (key)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- The contacts of users.
CREATE TABLE contact_points (
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type         text NOT NULL,
    address      text NOT NULL,
    -- Keyed hash of the address, for `suppressions`.
    address_hash bytea NOT NULL,

    PRIMARY KEY (user_id, type),
    CONSTRAINT a_contact_type_is_known CHECK (type IN ('email', 'phone', 'slack_user_id')),
    CONSTRAINT an_address_is_short CHECK (address <> '' AND length(address) <= 320),
    CONSTRAINT an_address_hash_is_a_hash CHECK (length(address_hash) = 32)
);

-- For the feedback of providers, which names addresses.
CREATE INDEX contact_points_by_address ON contact_points (address_hash);

-- The addresses that each channel uses, in the order of preference.
CREATE TABLE channel_contacts (
    channel    text NOT NULL,
    type       text NOT NULL,
    preference smallint NOT NULL,

    PRIMARY KEY (channel, type)
);

INSERT INTO channel_contacts VALUES
    ('mail', 'email', 1), ('sms', 'phone', 1), ('whatsapp', 'phone', 1), ('slack', 'slack_user_id', 1), ('slack', 'email', 2);

-- Addresses that a channel must not use any more. They outlive the user: nothing is sent to a person who opted out, was deleted and
-- is imported again.
CREATE TABLE suppressions (
    address_hash bytea NOT NULL,
    channel      text NOT NULL,
    -- Empty: all kinds.
    kind         text NOT NULL DEFAULT '',
    status       text NOT NULL,
    since        timestamptz NOT NULL,

    PRIMARY KEY (address_hash, channel, kind),
    CONSTRAINT a_suppressed_address_is_a_hash CHECK (length(address_hash) = 32),
    CONSTRAINT a_contact_status_is_known CHECK (status IN ('bounced', 'complained', 'opted_out'))
);

-- Returns the first of `channels` that reaches a user with a greeting of `kind`: the webhook always, another channel by a contact
-- that is not suppressed. A SQL function of one SELECT becomes a part of the statement that calls it, unless an argument has a
-- subquery.
CREATE FUNCTION reach(of_user uuid, of_kind text, channels text[])
RETURNS TABLE (channel text, address text, address_hash bytea) LANGUAGE sql STABLE AS $$
    SELECT c.channel, p.address, p.address_hash
    FROM unnest(channels) WITH ORDINALITY AS c(channel, position)
    LEFT JOIN channel_contacts t ON t.channel = c.channel
    LEFT JOIN contact_points p ON p.user_id = of_user AND p.type = t.type
    WHERE c.channel = 'webhook'
       OR p.address IS NOT NULL AND NOT EXISTS (
           SELECT FROM suppressions s
           WHERE s.address_hash = p.address_hash AND s.channel = c.channel AND s.kind IN ('', of_kind))
    ORDER BY c.position, t.preference LIMIT 1
$$;

-- What providers reported after they had accepted a greeting. One row for each type, since reports are repeated.
CREATE TABLE feedback (
    event_id uuid NOT NULL,
    type     text NOT NULL,
    channel  text NOT NULL,
    at       timestamptz NOT NULL,
    -- The provider's code or words, without addresses.
    detail   text,

    PRIMARY KEY (event_id, type),
    CONSTRAINT a_feedback_type_is_known CHECK (type IN ('delivered', 'delayed', 'failed', 'bounced', 'complained', 'opted_out')),
    CONSTRAINT a_detail_is_short CHECK (length(detail) <= 1000)
);

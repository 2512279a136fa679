-- Users. Their dates are in `occasions`, their greetings in `events`.
CREATE TABLE users (
    id          uuid PRIMARY KEY,
    -- The identifier of this user in another system, such as HR.
    external_id text,
    first_name  text NOT NULL,
    last_name   text NOT NULL,
    -- An IANA name, validated by the binary: PostgreSQL may have other zones.
    time_zone   text NOT NULL,
    -- Local time, to the minute. NULL: the default of the kind.
    send_at     time,
    -- The rule for 29 February in a common year. NULL: the configured default.
    leap_day    text,
    -- The language of the message: a BCP 47 tag such as `de` or `pt-BR`. NULL: that of the kind.
    locale      text,
    -- Incremented by each edit, for the ETag.
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,

    CONSTRAINT external_ids_are_unique UNIQUE (external_id),
    CONSTRAINT an_external_id_is_not_blank CHECK (external_id <> '' AND length(external_id) <= 200),
    CONSTRAINT a_first_name_is_not_blank CHECK (first_name <> '' AND length(first_name) <= 200),
    CONSTRAINT a_last_name_is_not_huge CHECK (length(last_name) <= 200),
    CONSTRAINT a_send_time_is_a_whole_minute CHECK (send_at < '24:00' AND extract(second FROM send_at) = 0),
    CONSTRAINT a_leap_day_rule_is_known CHECK (leap_day IN ('feb28', 'mar1', 'leap_years_only')),
    CONSTRAINT a_locale_is_a_language_tag CHECK (locale ~ '^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$')
);

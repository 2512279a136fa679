-- The yearly dates of users: the birthday, and the other configured kinds.
CREATE TABLE occasions (
    user_id  uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind     text NOT NULL,
    -- NULL: unknown.
    year     smallint,
    month    smallint NOT NULL,
    day      smallint NOT NULL,
    -- When the date was learned or last changed. Nothing is due before it, except by `plan.late_join`.
    known_at timestamptz NOT NULL,
    -- Writers share an advisory lock on a user's bucket, and a planner holds it alone for a page, so that planning locks no user
    -- row. The last byte of an id is random in versions 4, 7 and 8 of UUID.
    bucket   smallint NOT NULL GENERATED ALWAYS AS ((get_byte(uuid_send(user_id), 15) & 31)::smallint) STORED,

    PRIMARY KEY (user_id, kind),
    CONSTRAINT a_kind_is_a_short_name CHECK (kind ~ '^[a-z][a-z0-9_]{0,39}$'),
    CONSTRAINT a_date_is_a_day_of_some_year CHECK (make_date(2000, month, day) IS NOT NULL),
    CONSTRAINT a_year_is_plausible CHECK (year BETWEEN 1 AND 9999)
);

-- For planning: the users of a day, by page of a bucket.
CREATE INDEX occasions_by_day ON occasions (month, day, bucket, user_id);

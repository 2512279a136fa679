-- The yearly dates of a user: the birthday, and any other kind that the configuration names.
CREATE TABLE occasions (
    user_id  uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind     text NOT NULL,
    -- NULL: the year is unknown.
    year     smallint,
    month    smallint NOT NULL,
    day      smallint NOT NULL,
    -- When this date was learned, or last changed. What was due before it is not owed: see `late_join`.
    known_at timestamptz NOT NULL,
    -- Writers share an advisory lock on a user's bucket, and a planner takes it alone for a page: so planning writes no user
    -- row. The last byte of an id is random in every version of UUID that is used here.
    bucket   smallint NOT NULL GENERATED ALWAYS AS ((get_byte(uuid_send(user_id), 15) & 31)::smallint) STORED,

    PRIMARY KEY (user_id, kind),
    CONSTRAINT a_kind_is_a_short_name CHECK (kind ~ '^[a-z][a-z0-9_]{0,39}$'),
    CONSTRAINT a_date_is_a_day_of_some_year CHECK (make_date(2000, month, day) IS NOT NULL),
    CONSTRAINT a_year_is_plausible CHECK (year BETWEEN 1 AND 9999)
);

-- Planning reads the users of a day, a page of a bucket at a time.
CREATE INDEX occasions_by_day ON occasions (month, day, bucket, user_id);

-- The yearly dates of a person: the birthday, and any other kind that the configuration names.
CREATE TABLE occasions (
    user_id  uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind     text NOT NULL,
    -- NULL: the year is not known.
    year     smallint,
    month    smallint NOT NULL,
    day      smallint NOT NULL,
    -- When this date was learned, or last changed. What was due before it is no debt: see `late_join`.
    known_at timestamptz NOT NULL,

    PRIMARY KEY (user_id, kind),
    CONSTRAINT a_kind_is_a_short_name CHECK (kind ~ '^[a-z][a-z0-9_]{0,39}$'),
    CONSTRAINT a_date_is_a_day_of_some_year CHECK (make_date(2000, month, day) IS NOT NULL),
    CONSTRAINT a_year_is_plausible CHECK (year BETWEEN 1 AND 9999)
);

-- What planning reads: everybody whose day it is, a page at a time.
CREATE INDEX occasions_by_day ON occasions (month, day, user_id);

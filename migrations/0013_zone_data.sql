-- The zone data that pending events were computed with: one row, none before the first scheduler.
CREATE TABLE zone_data (
    only_row    boolean PRIMARY KEY DEFAULT true,
    -- As the binary calls it, such as `2026f, before 2020 2025b`.
    version     text NOT NULL,
    computed_at timestamptz NOT NULL,

    CONSTRAINT there_is_one_row CHECK (only_row),
    CONSTRAINT a_version_is_not_blank CHECK (version <> '')
);

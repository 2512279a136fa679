-- The rules that the days of `planned_days` and pending events were computed with, beside the zone data: one row, none before
-- the first scheduler that notes them.
CREATE TABLE planning_rules (
    only_row    boolean PRIMARY KEY DEFAULT true,
    -- The kinds with their send times, and what 29 February means in a common year:
    -- `birthday 09:00, work_anniversary 10:30; 29 February feb28`.
    rules       text NOT NULL,
    computed_at timestamptz NOT NULL,

    CONSTRAINT there_is_one_row CHECK (only_row),
    CONSTRAINT rules_are_not_blank CHECK (rules <> '')
);

-- How far the calendar has been planned, a row a local date, in order and without a hole.
-- A row without `planned_at` is open: whoever writes a user plans that date himself, and a planner is still, or again,
-- going through those who were there before.
CREATE TABLE planned_days (
    local_date date PRIMARY KEY,
    planned_at timestamptz
);

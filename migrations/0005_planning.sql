-- Planned local dates, by rules: during a rollout, schedulers with other kinds or send times plan each date separately.
-- A row without `planned_at` is open: each write of a user plans that date in its transaction, and a planner plans the users that
-- existed before.
CREATE TABLE planned_days (
    local_date date NOT NULL,
    rules      text NOT NULL,
    planned_at timestamptz,

    PRIMARY KEY (local_date, rules)
);

-- Users whom this version could not read when their day was planned. The planner retries them separately.
CREATE TABLE unplanned_users (
    user_id  uuid PRIMARY KEY,
    error    text NOT NULL,
    tried_at timestamptz NOT NULL
);

-- The zone data and the rules that pending events were computed with: one row, written by the first scheduler. During a
-- recomputation, the columns from `next_zone_data` on have its target and its position.
CREATE TABLE planning_basis (
    only_row       boolean PRIMARY KEY DEFAULT true,
    zone_data      text NOT NULL,
    rules          text NOT NULL,
    computed_at    timestamptz NOT NULL,
    next_zone_data text,
    next_rules     text,
    after_at       timestamptz,
    after_id       uuid,
    progress_at    timestamptz,

    CONSTRAINT there_is_one_row CHECK (only_row),
    CONSTRAINT progress_has_a_target CHECK (
        (next_zone_data IS NULL) = (next_rules IS NULL) AND (after_at IS NULL) = (after_id IS NULL)
        AND (after_id IS NULL OR next_rules IS NOT NULL))
);

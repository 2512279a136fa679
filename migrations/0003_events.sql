CREATE TYPE event_state AS ENUM (
    'pending', 'queued', 'delivering', 'delivered', 'dead', 'cancelled', 'skipped'
);

-- One occasion of one user in one local year, and its life. No foreign key to `users`: the record of what was sent outlives
-- the user.
CREATE TABLE events (
    -- The `webhook-id`: the same over all attempts.
    id                  uuid PRIMARY KEY,
    user_id             uuid NOT NULL,
    kind                text NOT NULL,
    local_year          smallint NOT NULL,
    local_date          date NOT NULL,
    due_at              timestamptz NOT NULL,
    -- The instant from which lateness counts: due, or learned, moved or redriven later.
    late_from           timestamptz NOT NULL,
    -- When the event may be claimed. NULL unless it is pending.
    next_attempt_at     timestamptz,
    state               event_state NOT NULL,
    -- Why it ended. NULL unless it is dead, cancelled or skipped.
    reason              text,
    -- The error of the last attempt that failed.
    last_error          text,
    -- Requests begun. Counted by the lease, before a request leaves.
    attempts            smallint NOT NULL DEFAULT 0,
    -- Attempts before the last redrive: these do not count against the limit.
    attempts_at_redrive smallint NOT NULL DEFAULT 0,
    -- A worker died with this event: from then on it is alone in its pack.
    isolated            boolean NOT NULL DEFAULT false,
    -- The row of `leases` that holds it.
    lease_id            uuid,
    queued_at           timestamptz,
    -- Of the attempt that delivered it: when its request began, and the HTTP status. Other attempts have a row in `attempts`.
    started_at          timestamptz,
    status              smallint,
    finished_at         timestamptz,
    redriven_at         timestamptz,
    created_at          timestamptz NOT NULL,

    CONSTRAINT one_event_per_user_kind_and_year UNIQUE (user_id, kind, local_year),
    -- One expression: it is evaluated for each version of a row.
    CONSTRAINT the_columns_fit_the_state CHECK (
        CASE state
            WHEN 'pending' THEN next_attempt_at IS NOT NULL AND lease_id IS NULL AND finished_at IS NULL AND reason IS NULL
            WHEN 'queued' THEN next_attempt_at IS NULL AND lease_id IS NULL AND finished_at IS NULL AND reason IS NULL
            WHEN 'delivering' THEN next_attempt_at IS NULL AND lease_id IS NOT NULL AND finished_at IS NULL AND reason IS NULL
            WHEN 'delivered' THEN next_attempt_at IS NULL AND lease_id IS NULL AND finished_at IS NOT NULL AND reason IS NULL
                                  AND attempts > 0
            ELSE next_attempt_at IS NULL AND lease_id IS NULL AND finished_at IS NOT NULL AND reason IS NOT NULL
        END),
    CONSTRAINT attempts_before_a_redrive_are_attempts CHECK (attempts_at_redrive BETWEEN 0 AND attempts),
    CONSTRAINT nothing_is_late_before_it_is_due CHECK (late_from >= due_at)
-- Room on the page for the versions of events that are claimed, leased and delivered within seconds.
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- What claiming reads: pending events alone. The claim takes an event out of it, and the lease and the delivery change no
-- column of any index, so that PostgreSQL updates those rows in place (HOT). An index on `state`, `lease_id` or
-- `finished_at` would end that.
CREATE INDEX events_pending ON events (next_attempt_at, id) WHERE next_attempt_at IS NOT NULL;
-- What lists read.
CREATE INDEX events_by_due_at ON events (due_at, id);
CREATE INDEX events_not_delivered_by_due_at ON events (due_at, id) WHERE reason IS NOT NULL;

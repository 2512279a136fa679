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
    CONSTRAINT only_a_pending_event_has_a_next_attempt CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL)),
    CONSTRAINT only_a_delivering_event_is_leased CHECK ((state = 'delivering') = (lease_id IS NOT NULL)),
    CONSTRAINT a_finished_event_has_an_end CHECK ((state IN ('pending', 'queued', 'delivering')) = (finished_at IS NULL)),
    CONSTRAINT an_event_that_was_not_delivered_has_a_reason CHECK ((state IN ('dead', 'cancelled', 'skipped')) = (reason IS NOT NULL)),
    CONSTRAINT attempts_are_counted CHECK (attempts >= 0 AND (state <> 'delivered' OR attempts > 0)),
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

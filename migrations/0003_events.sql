CREATE TYPE event_state AS ENUM (
    'pending', 'queued', 'delivering', 'delivered', 'dead', 'cancelled', 'skipped'
);

-- One occasion of one user in one local year. No foreign key to `users`: events remain after the deletion of the user.
CREATE TABLE events (
    -- The `webhook-id` of all attempts.
    id                  uuid PRIMARY KEY,
    user_id             uuid NOT NULL,
    kind                text NOT NULL,
    local_year          smallint NOT NULL,
    local_date          date NOT NULL,
    due_at              timestamptz NOT NULL,
    -- The instant from which lateness counts: due, or learned, moved or redriven later.
    late_from           timestamptz NOT NULL,
    -- The earliest time of the next claim. NULL unless pending.
    next_attempt_at     timestamptz,
    state               event_state NOT NULL,
    -- NULL unless dead, cancelled or skipped.
    reason              text,
    -- The error of the last failed attempt.
    last_error          text,
    -- Incremented by the lease, before the request.
    attempts            smallint NOT NULL DEFAULT 0,
    -- Attempts that do not count against the limit: those before the last redrive, and those that the channel deferred.
    attempts_not_counted smallint NOT NULL DEFAULT 0,
    -- Set when a worker died with this event: it is alone in its pack from then on.
    isolated            boolean NOT NULL DEFAULT false,
    -- References `leases`.
    lease_id            uuid,
    -- The channel of its attempts. Set by the first lease; NULL again after a definite refusal of the contact.
    channel             text,
    queued_at           timestamptz,
    -- Start, status and message id of the attempt that delivered it. Other attempts have a row in `attempts`.
    started_at          timestamptz,
    status              smallint,
    -- The provider's id of the message.
    provider_id         text,
    finished_at         timestamptz,
    -- The trace of that attempt. NULL: it was not traced.
    trace_id            uuid,
    redriven_at         timestamptz,
    created_at          timestamptz NOT NULL,

    CONSTRAINT one_event_per_user_kind_and_year UNIQUE (user_id, kind, local_year),
    -- A single expression, since it is evaluated for each row version.
    CONSTRAINT the_columns_fit_the_state CHECK (
        CASE state
            WHEN 'pending' THEN next_attempt_at IS NOT NULL AND lease_id IS NULL AND finished_at IS NULL AND reason IS NULL
            WHEN 'queued' THEN next_attempt_at IS NULL AND lease_id IS NULL AND finished_at IS NULL AND reason IS NULL
            WHEN 'delivering' THEN next_attempt_at IS NULL AND lease_id IS NOT NULL AND finished_at IS NULL AND reason IS NULL
            WHEN 'delivered' THEN next_attempt_at IS NULL AND lease_id IS NULL AND finished_at IS NOT NULL AND reason IS NULL
                                  AND attempts > 0
            ELSE next_attempt_at IS NULL AND lease_id IS NULL AND finished_at IS NOT NULL AND reason IS NOT NULL
        END),
    CONSTRAINT attempts_that_do_not_count_are_attempts CHECK (attempts_not_counted BETWEEN 0 AND attempts),
    CONSTRAINT nothing_is_late_before_it_is_due CHECK (late_from >= due_at)
-- Room on the page for the row versions of events that are claimed, leased and delivered within seconds.
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- For the claim: pending events only. The lease and the delivery change no column of any index, so that PostgreSQL updates those
-- rows in place (HOT). An index on `state`, `lease_id` or `finished_at` would prevent that.
CREATE INDEX events_pending ON events (next_attempt_at, id) WHERE next_attempt_at IS NOT NULL;
-- For lists.
CREATE INDEX events_by_due_at ON events (due_at, id);
CREATE INDEX events_not_delivered_by_due_at ON events (due_at, id) WHERE reason IS NOT NULL;

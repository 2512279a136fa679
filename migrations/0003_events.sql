CREATE TYPE event_state AS ENUM (
    'pending', 'queued', 'delivering', 'delivered', 'dead', 'cancelled', 'skipped'
);

-- One occasion of one user in one local year, and what became of it. No foreign key to `users`: what was sent stays
-- on record when the person is deleted.
CREATE TABLE events (
    -- The `webhook-id`: the same over all attempts.
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL,
    kind         text NOT NULL,
    local_year   smallint NOT NULL,
    local_date   date NOT NULL,
    due_at       timestamptz NOT NULL,
    state        event_state NOT NULL,
    -- Why it ended as it did. For a dead, cancelled or skipped event never NULL.
    reason       text,
    -- The error of the last attempt that failed.
    last_error   text,
    -- How many requests were begun. Counted before a request goes out.
    attempts     smallint NOT NULL DEFAULT 0,
    -- The worker process that holds the lease.
    lease_holder uuid,
    -- Queued: when the sweeper takes the message for lost. Delivering: when the lease runs out.
    deadline_at  timestamptz,
    queued_at    timestamptz,
    finished_at  timestamptz,
    created_at   timestamptz NOT NULL,

    -- The promise of this system, whatever is edited, retried or redriven.
    CONSTRAINT one_event_per_user_kind_and_year UNIQUE (user_id, kind, local_year),
    CONSTRAINT only_a_delivering_event_is_leased CHECK ((state = 'delivering') = (lease_holder IS NOT NULL)),
    CONSTRAINT an_event_on_its_way_has_a_deadline CHECK ((state IN ('queued', 'delivering')) = (deadline_at IS NOT NULL)),
    CONSTRAINT a_finished_event_has_an_end CHECK ((state IN ('pending', 'queued', 'delivering')) = (finished_at IS NULL)),
    CONSTRAINT what_was_not_delivered_has_a_reason CHECK (state NOT IN ('dead', 'cancelled', 'skipped') OR reason IS NOT NULL),
    CONSTRAINT attempts_are_counted CHECK (attempts >= 0 AND (state <> 'delivered' OR attempts > 0))
) WITH (fillfactor = 60);

-- What claiming reads.
CREATE INDEX events_pending_by_due_at ON events (due_at, id) WHERE state = 'pending';
-- What the sweeper reads.
CREATE INDEX events_under_way_by_deadline ON events (deadline_at) WHERE state IN ('queued', 'delivering');

-- Packs of event ids for workers, and messages for the dead-letter queue. The claim inserts a pack in the transaction that makes its
-- events `queued`, and the worker that leases them deletes it. So every queued event is in a pack. A pack that is sent or received
-- twice has no effect, because each event is leased once.
--
-- With `queue.kind = "postgres"`, this table is the queue: workers take the packs, and the messages stay here.
CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_ids    uuid[] NOT NULL,
    -- The reason of a dead event: a message for the dead-letter queue. NULL: a pack for workers.
    dead_letter  text,
    created_at   timestamptz NOT NULL,
    -- Not taken before: a sender or a worker has it, or it is deferred.
    available_at timestamptz NOT NULL,
    -- When the queue confirmed it.
    sent_at      timestamptz,
    -- The span of the claim, in the format of W3C Trace Context. NULL: it was not traced.
    traceparent  text,

    CONSTRAINT a_pack_has_events CHECK (cardinality(event_ids) > 0),
    CONSTRAINT a_dead_letter_has_one_event CHECK (dead_letter IS NULL OR cardinality(event_ids) = 1)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX outbox_to_take ON outbox (available_at, id) WHERE sent_at IS NULL AND dead_letter IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX outbox_dead_letters ON outbox ((event_ids[1])) WHERE dead_letter IS NOT NULL;

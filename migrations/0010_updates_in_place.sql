-- An event is updated three times on its way: queued, delivering, delivered. PostgreSQL can keep the new version on the
-- same page, without touching any index (a HOT update), as long as no column that an index mentions has changed, in its
-- condition included. So no index may mention `state`, or `deadline_at`: what tells the open events from the others is
-- `finished_at`, which changes once. Queries repeat the condition of their index, and check the state itself.

DROP INDEX events_pending_by_due_at, events_under_way_by_deadline, events_delivered_by_due_at, events_given_up_by_due_at;

-- What claiming and sweeping read: pending, queued and delivering.
CREATE INDEX events_open_by_due_at ON events (due_at, id) WHERE finished_at IS NULL;
-- What the list of events reads, besides. Delivered events are by far the most, the others are few.
CREATE INDEX events_delivered_by_due_at ON events (due_at, id) WHERE finished_at IS NOT NULL AND reason IS NULL;
CREATE INDEX events_given_up_by_due_at ON events (due_at, id) WHERE reason IS NOT NULL;

ALTER TABLE events
    DROP CONSTRAINT what_was_not_delivered_has_a_reason,
    ADD CONSTRAINT what_was_not_delivered_has_a_reason CHECK ((state IN ('dead', 'cancelled', 'skipped')) = (reason IS NOT NULL)),
    -- Room for the versions of a crowd that is due at once.
    SET (fillfactor = 50);

-- What the list of events reads; the states under way have their indexes already. Delivered events are by far the most,
-- the others are few.
CREATE INDEX events_delivered_by_due_at ON events (due_at, id) WHERE state = 'delivered';
CREATE INDEX events_given_up_by_due_at ON events (due_at, id) WHERE state IN ('dead', 'cancelled', 'skipped');

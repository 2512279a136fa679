-- The events that a worker leased with one statement. The worker extends the lease while it works, and deletes it when every outcome
-- is recorded. A heartbeat updates one row per batch, and expired leases are found without reading events.
CREATE TABLE leases (
    id          uuid PRIMARY KEY,
    -- The worker process.
    holder      uuid NOT NULL,
    lease_until timestamptz NOT NULL,
    event_ids   uuid[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX leases_by_end ON leases (lease_until);

-- Attempts that did not deliver their event. The attempt that delivers is stored in `events`, so that a greeting accepted at once
-- needs no second row. No foreign key, since its check would cost more than the row; one statement deletes events and attempts.
CREATE TABLE attempts (
    event_id    uuid NOT NULL,
    number      smallint NOT NULL,
    -- `unknown`: the request may have been sent, and no response arrived.
    outcome     text NOT NULL,
    -- NULL: the worker died.
    channel     text,
    -- The status of the response: of HTTP, or of SMTP.
    status      smallint,
    reason      text NOT NULL,
    error       text,
    -- The first bytes of the response, as safe text.
    response    text,
    -- NULL, like the end: the worker died.
    started_at  timestamptz,
    finished_at timestamptz,
    -- NULL: the attempt was not traced.
    trace_id    uuid,

    PRIMARY KEY (event_id, number),
    CONSTRAINT an_outcome_is_known CHECK (outcome IN ('failed', 'unknown')),
    CONSTRAINT a_response_is_short CHECK (length(response) <= 5000)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Every ended attempt. The deletion of a user removes the start, and replaces the end by the end of the year, which is left out.
CREATE VIEW ended_attempts AS
SELECT event_id, number, outcome, channel, status, NULL AS provider_id, reason, error, response, started_at, finished_at,
       trace_id
FROM attempts
UNION ALL
SELECT id, attempts, 'delivered', channel, status, provider_id, NULL, NULL, NULL, started_at,
       CASE WHEN started_at IS NOT NULL THEN finished_at END, trace_id
FROM events WHERE state = 'delivered';

-- One request to a receiver that did not deliver its event. The attempt that delivers stands in `events`, so that a greeting
-- accepted at once costs no second row. No foreign key: its check would cost more than the row, and events are deleted together
-- with their attempts in one place.
CREATE TABLE attempts (
    event_id    uuid NOT NULL,
    number      smallint NOT NULL,
    -- failed, or unknown: the request may have left, and no answer came back.
    outcome     text NOT NULL,
    -- The HTTP status, if there was an answer.
    status      smallint,
    reason      text NOT NULL,
    error       text,
    -- The first bytes of the receiver's answer, as safe text.
    response    text,
    -- NULL, like its end: the worker died.
    started_at  timestamptz,
    finished_at timestamptz,

    PRIMARY KEY (event_id, number),
    CONSTRAINT an_outcome_is_known CHECK (outcome IN ('failed', 'unknown')),
    CONSTRAINT a_response_is_short CHECK (length(response) <= 5000)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Every attempt that has ended. Without the start, which the deletion of a user takes, the end is that of a year.
CREATE VIEW ended_attempts AS
SELECT event_id, number, outcome, status, reason, error, response, started_at, finished_at FROM attempts
UNION ALL
SELECT id, attempts, 'delivered', status, NULL, NULL, NULL, started_at, CASE WHEN started_at IS NOT NULL THEN finished_at END
FROM events WHERE state = 'delivered';

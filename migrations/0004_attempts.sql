-- One request to a receiver, and how it ended. No foreign key: its check would cost more than the row, and events are
-- deleted together with their attempts in one place.
CREATE TABLE attempts (
    event_id    uuid NOT NULL,
    number      smallint NOT NULL,
    -- delivered, failed, or unknown: the bytes may have left, and no answer came back.
    outcome     text NOT NULL,
    -- The HTTP status, when there was an answer.
    status      smallint,
    reason      text,
    error       text,
    -- NULL, like its end: the worker died, so nobody knows.
    started_at  timestamptz,
    finished_at timestamptz,

    PRIMARY KEY (event_id, number),
    CONSTRAINT an_outcome_is_known CHECK (outcome IN ('delivered', 'failed', 'unknown')),
    CONSTRAINT a_failure_has_a_reason CHECK (outcome = 'delivered' OR reason IS NOT NULL)
);

-- Sending is paused while a row exists.
CREATE TABLE pauses (
    id     boolean PRIMARY KEY DEFAULT true,
    since  timestamptz NOT NULL,
    reason text NOT NULL,

    CONSTRAINT there_is_one_pause_at_the_most CHECK (id),
    CONSTRAINT a_reason_is_short CHECK (length(reason) <= 500)
);

-- What a receiver said to a request that it did not accept: its first bytes, as safe text. NOT VALID only spares the
-- look at rows that were there before the column: new rows are checked.
ALTER TABLE attempts
    ADD COLUMN response text,
    ADD CONSTRAINT a_response_is_short CHECK (length(response) <= 5000) NOT VALID;

-- A dead event that somebody has sent on its way again stays the same event. Its attempts go on counting, so that each
-- keeps its number; how many there had been says how many belong to its new life.
ALTER TABLE events
    ADD COLUMN redriven_at timestamptz,
    ADD COLUMN attempts_at_redrive smallint NOT NULL DEFAULT 0,
    ADD CONSTRAINT only_a_redriven_event_has_attempts_of_an_earlier_life CHECK (
        attempts_at_redrive BETWEEN 0 AND attempts AND (redriven_at IS NOT NULL OR attempts_at_redrive = 0)) NOT VALID;

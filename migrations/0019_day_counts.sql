-- The outcomes of the events of each past local date, without personal data: they outlive the retention of events and the deletion of
-- users. A year of days is read from here, since counting millions of events takes seconds.
CREATE TABLE day_counts (
    local_date date PRIMARY KEY,
    -- The counts are NULL before the first count.
    sent       bigint,
    failed     bigint,
    skipped    bigint,
    cancelled  bigint,
    -- Events that had not ended: the date is counted again later.
    unfinished bigint,
    -- NULL: to be counted, for the first time or again after a redrive.
    counted_at timestamptz,

    CONSTRAINT a_day_has_all_counts_or_none CHECK (num_nonnulls(sent, failed, skipped, cancelled, unfinished) IN (0, 5)),
    CONSTRAINT a_counted_day_has_counts CHECK (counted_at IS NULL OR sent IS NOT NULL)
);

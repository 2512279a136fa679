-- What the lists read: people by the beginning of a name or of an external id, and by zone. The collation "C" makes a
-- beginning a range; the id orders those of the same name, so that a page of them reads no more than that page.
CREATE INDEX users_by_full_name ON users ((lower(first_name || ' ' || last_name) COLLATE "C"), id);
CREATE INDEX users_by_last_name ON users ((lower(last_name) COLLATE "C"), id);
CREATE INDEX users_by_lower_external_id ON users ((lower(external_id) COLLATE "C"), id);
CREATE INDEX users_by_time_zone ON users (time_zone, id);

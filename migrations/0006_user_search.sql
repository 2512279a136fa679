-- For the search by the beginning of a name or external id, and by zone. With the collation "C", a prefix is a range. The id
-- orders users with equal names, so that a page reads no more than its rows.
CREATE INDEX users_by_full_name ON users ((lower(first_name || ' ' || last_name) COLLATE "C"), id);
CREATE INDEX users_by_last_name ON users ((lower(last_name) COLLATE "C"), id);
CREATE INDEX users_by_lower_external_id ON users ((lower(external_id) COLLATE "C"), id);
CREATE INDEX users_by_time_zone ON users (time_zone, id);

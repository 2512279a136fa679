-- Files that the console received for an import: any process can check and import them. Deleted after the import, at the latest an
-- hour after the upload.
CREATE TABLE uploads (
    id         uuid PRIMARY KEY,
    -- The name of the token. NULL: without sign-in.
    actor      text,
    file_name  text NOT NULL,
    media_type text NOT NULL,
    -- The zone of vCards without one.
    time_zone  text,
    created_at timestamptz NOT NULL,
    -- The number of chunks; NULL until the file is complete and checked.
    chunks     integer,
    -- The reports of the dry run and of the import, as JSON.
    dry_run    text,
    result     text,

    CONSTRAINT a_checked_upload_has_a_report CHECK ((chunks IS NULL) = (dry_run IS NULL)),
    CONSTRAINT a_file_name_is_short CHECK (length(file_name) <= 200)
);

CREATE TABLE upload_chunks (
    upload_id uuid NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    -- From 0.
    number    integer NOT NULL,
    bytes     bytea NOT NULL,

    PRIMARY KEY (upload_id, number),
    CONSTRAINT a_chunk_is_small CHECK (length(bytes) BETWEEN 1 AND 262144)
);

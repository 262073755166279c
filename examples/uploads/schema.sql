CREATE SCHEMA IF NOT EXISTS uploads;

-- What a store holds and was read back. An object that has no row is not finished, and the sweeper deletes it one day.
CREATE TABLE IF NOT EXISTS uploads.files (
    store text NOT NULL CHECK (store IN ('s3', 'ftp')),
    key text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (store, key)
);

CREATE SCHEMA IF NOT EXISTS uploads;

-- What a store holds and was read back. An object that has no row is not finished, and the sweeper deletes it one day.
CREATE TABLE IF NOT EXISTS uploads.files (
    store text,
    key text,
    sha256 text NOT NULL,
    PRIMARY KEY (store, key)
);

CREATE SCHEMA IF NOT EXISTS mails;

CREATE TABLE IF NOT EXISTS mails.subscribers (
    id text PRIMARY KEY,
    mailing text NOT NULL,
    address text NOT NULL,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'unsubscribed', 'refused'))
);
-- A page of a mailing is read in the order of the ids.
CREATE INDEX IF NOT EXISTS subscribers_of_mailing ON mails.subscribers (mailing, id);

CREATE SCHEMA IF NOT EXISTS renewals;

-- What a subscriber may do. The version keeps a late attempt of an earlier change from undoing a later one.
CREATE TABLE IF NOT EXISTS renewals.accounts (
    subscription text PRIMARY KEY,
    address text NOT NULL,
    has_access boolean NOT NULL DEFAULT false,
    version integer NOT NULL DEFAULT 0
);
-- The books of the billing service, which stands for the outside world.
CREATE TABLE IF NOT EXISTS renewals.payments (
    id text PRIMARY KEY,
    subscription text NOT NULL,
    days integer NOT NULL
);

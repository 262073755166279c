CREATE SCHEMA IF NOT EXISTS taxi;

-- A client's credit is a number that each debit checks and changes. Drivers and the company are in many settlements at
-- once, and nothing limits what they get: their balance is the sum of their entries, so no settlement waits for another.
CREATE TABLE IF NOT EXISTS taxi.accounts (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('client', 'driver', 'company')),
    credit bigint CHECK (credit >= 0),
    is_open boolean NOT NULL DEFAULT true,
    CHECK ((kind = 'client') = (credit IS NOT NULL))
);

-- One row for each step of a saga, however often the step or its compensation is run. A step that was undone stays, so
-- that it is refused if it comes late.
CREATE TABLE IF NOT EXISTS taxi.moves (
    saga_id text,
    step text,
    is_undone boolean NOT NULL,
    PRIMARY KEY (saga_id, step)
);

-- The ledger: nothing in it is changed. Each movement takes from one account what it gives to another. What a trip has
-- taken and not yet given is in an account of the saga's name.
CREATE TABLE IF NOT EXISTS taxi.entries (
    saga_id text NOT NULL,
    step text NOT NULL,
    account text NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (saga_id, step, account)
);
CREATE INDEX IF NOT EXISTS entries_account ON taxi.entries (account) INCLUDE (amount);

CREATE TABLE IF NOT EXISTS taxi.reports (
    trip_id text PRIMARY KEY,
    client text NOT NULL,
    driver text NOT NULL,
    driver_cents bigint NOT NULL,
    company_cents bigint NOT NULL
);

-- A trip was settled if it has a report, and no movement of its saga was undone.
CREATE OR REPLACE VIEW taxi.settlements AS
SELECT reports.*, EXISTS (
    SELECT FROM taxi.moves WHERE saga_id = trip_id || ':refund' AND step = 'fare' AND NOT is_undone
) AS is_refunded
FROM taxi.reports WHERE NOT EXISTS (SELECT FROM taxi.moves WHERE saga_id = trip_id AND is_undone);

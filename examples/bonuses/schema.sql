CREATE SCHEMA IF NOT EXISTS bonuses;

-- Amounts are cents.
CREATE TABLE IF NOT EXISTS bonuses.users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop text NOT NULL,
    spent bigint NOT NULL,
    balance bigint NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS users_of_shop ON bonuses.users (shop, id);

-- A user has one bonus a period, whichever job or run adds it.
CREATE TABLE IF NOT EXISTS bonuses.entries (
    user_id bigint NOT NULL REFERENCES bonuses.users ON DELETE CASCADE,
    period text NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (user_id, period)
);

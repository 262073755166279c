CREATE SCHEMA IF NOT EXISTS payments_account;

CREATE TABLE IF NOT EXISTS payments_account.accounts (
    id text PRIMARY KEY,
    active boolean NOT NULL DEFAULT true,
    currency char(3) NOT NULL,
    balance bigint NOT NULL CHECK (balance >= 0),
    methods text[] NOT NULL DEFAULT '{card,bank,wallet}',
    email text NOT NULL,
    phone text,
    daily_limit bigint
);

-- A debit has kind 'debit', or 'refused' if its credit came first: then it never happens.
CREATE TABLE IF NOT EXISTS payments_account.entries (
    entry_id text PRIMARY KEY,
    payment_id text NOT NULL,
    account_id text NOT NULL REFERENCES payments_account.accounts,
    kind text NOT NULL CHECK (kind IN ('debit', 'credit', 'refused')),
    amount bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS entries_of_a_payment ON payments_account.entries (payment_id);
CREATE INDEX IF NOT EXISTS entries_of_a_day ON payments_account.entries (account_id, created_at);

CREATE SCHEMA IF NOT EXISTS outgoing;

-- Each message that is to be sent, by the key that its occasion has. The row says whether its server has taken it, and
-- which job is sending it.
CREATE TABLE IF NOT EXISTS outgoing.mails (
    key text PRIMARY KEY,
    recipient text NOT NULL,
    sender text,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at timestamptz
);

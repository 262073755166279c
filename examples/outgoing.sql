CREATE SCHEMA IF NOT EXISTS outgoing;

-- Each message that is to be sent, by the key that its occasion has. The row says whether its server has taken it.
CREATE TABLE IF NOT EXISTS outgoing.mails (
    key text PRIMARY KEY,
    recipient text NOT NULL,
    sent_at timestamptz
);

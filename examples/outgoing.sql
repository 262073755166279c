CREATE SCHEMA IF NOT EXISTS outgoing;

-- Each mail that is to be sent, by the key that its occasion has. The row says whether the mail server has taken it.
CREATE TABLE IF NOT EXISTS outgoing.mails (
    key text PRIMARY KEY,
    recipient text NOT NULL,
    sent_at timestamptz
);

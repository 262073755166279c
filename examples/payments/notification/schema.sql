CREATE SCHEMA IF NOT EXISTS payments_notification;

-- A message is kept before it is sent. If its worker dies in between, it is sent again with the same Message-ID.
CREATE TABLE IF NOT EXISTS payments_notification.messages (
    key text PRIMARY KEY,
    recipient text NOT NULL,
    text text NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);

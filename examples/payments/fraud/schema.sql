CREATE SCHEMA IF NOT EXISTS payments_fraud;

CREATE TABLE IF NOT EXISTS payments_fraud.watched (
    user_id text PRIMARY KEY,
    verdict text NOT NULL CHECK (verdict IN ('pass', 'fail', 'review'))
);

CREATE TABLE IF NOT EXISTS payments_fraud.reviews (
    payment_id text PRIMARY KEY,
    verdict text NOT NULL,
    reviewer text NOT NULL,
    reviewed_at timestamptz NOT NULL DEFAULT now()
);

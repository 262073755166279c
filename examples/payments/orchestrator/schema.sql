CREATE SCHEMA IF NOT EXISTS payments_orchestrator;

-- Callbacks for payments whose workflow has ended.
CREATE TABLE IF NOT EXISTS payments_orchestrator.late_callbacks (
    payment_id text NOT NULL,
    status text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

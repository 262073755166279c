CREATE SCHEMA IF NOT EXISTS heartbeat;

-- What the steps have done: a row each time a step takes effect. Attempt 0 stands for a thread that was told to stop.
CREATE TABLE IF NOT EXISTS heartbeat.effects (
    job text NOT NULL,
    step integer NOT NULL,
    attempt integer NOT NULL
);

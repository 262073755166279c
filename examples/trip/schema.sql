CREATE SCHEMA IF NOT EXISTS trip;

-- What can be reserved: a customer's credit in cents, the rooms of a hotel, the seats of a flight.
CREATE TABLE IF NOT EXISTS trip.stock (
    name text PRIMARY KEY,
    free bigint NOT NULL CHECK (free >= 0)
);

-- One row for each step of a trip, however often the step or its compensation is run. A row that is released stays: it
-- keeps a step out that arrives late.
CREATE TABLE IF NOT EXISTS trip.reservations (
    trip_id text,
    name text,
    amount bigint NOT NULL CHECK (amount >= 0),
    released boolean NOT NULL DEFAULT false,
    PRIMARY KEY (trip_id, name)
);

CREATE SCHEMA IF NOT EXISTS onboarding;

CREATE TABLE IF NOT EXISTS onboarding.people (
    login text PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('maker', 'checker')),
    mail text NOT NULL,
    salt bytea NOT NULL,
    password_hash bytea NOT NULL
);
-- A cookie holds the token, and the table only its hash: who reads the table can't log in.
CREATE TABLE IF NOT EXISTS onboarding.sessions (
    token_hash bytea PRIMARY KEY,
    login text NOT NULL REFERENCES onboarding.people ON DELETE CASCADE,
    csrf text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS onboarding.imports (
    id text PRIMARY KEY,
    maker text NOT NULL,
    state text NOT NULL CHECK (state IN ('uploading', 'checking', 'waiting', 'done', 'discarded', 'refused')),
    reason text,
    idempotency_key text UNIQUE,
    sha256 bytea UNIQUE,
    encoding text NOT NULL DEFAULT 'utf-8-sig',
    encoding_guessed boolean NOT NULL DEFAULT false,
    delimiter text,
    unknown_columns text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
-- The file, in pieces of 256 KiB. It never travels through Temporal, whose limit is 2 MB.
CREATE TABLE IF NOT EXISTS onboarding.chunks (
    import_id text NOT NULL REFERENCES onboarding.imports ON DELETE CASCADE,
    number integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (import_id, number)
);
CREATE TABLE IF NOT EXISTS onboarding.import_rows (
    import_id text NOT NULL REFERENCES onboarding.imports ON DELETE CASCADE,
    line integer NOT NULL,
    raw text NOT NULL,
    name text NOT NULL,
    born text NOT NULL,
    city text NOT NULL,
    problem text,
    is_duplicate boolean NOT NULL DEFAULT false,
    PRIMARY KEY (import_id, line)
);
CREATE TABLE IF NOT EXISTS onboarding.users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    import_id text NOT NULL,
    line integer NOT NULL,
    name text NOT NULL,
    born date NOT NULL,
    city text NOT NULL,
    status text NOT NULL DEFAULT 'imported' CHECK (status IN ('imported', 'approved', 'rejected')),
    reason text,
    decided_by text,
    decided_at timestamptz,
    UNIQUE (import_id, line),
    UNIQUE (name, born, city)
);
-- What became of a decision. A decision that comes again finds its row and changes nothing.
CREATE TABLE IF NOT EXISTS onboarding.decisions (
    id text PRIMARY KEY,
    import_id text NOT NULL,
    who text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('approved', 'rejected')),
    applied bigint[] NOT NULL,
    decided_before bigint[] NOT NULL,
    unknown bigint[] NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

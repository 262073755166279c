CREATE SCHEMA IF NOT EXISTS onboarding;

CREATE TABLE IF NOT EXISTS onboarding.imports (
    id text PRIMARY KEY,
    maker text NOT NULL,
    state text NOT NULL DEFAULT 'checking' CHECK (state IN ('checking', 'waiting', 'done', 'discarded', 'refused')),
    reason text,
    idempotency_key text UNIQUE,
    sha256 bytea NOT NULL UNIQUE,
    charset text,
    encoding text,
    encoding_guessed boolean,
    delimiter text,
    unknown_columns text[],
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS onboarding.import_rows (
    import_id text NOT NULL REFERENCES onboarding.imports,
    line integer NOT NULL,
    raw text NOT NULL,
    name text,
    born date,
    city text,
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

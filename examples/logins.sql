CREATE SCHEMA IF NOT EXISTS logins;
CREATE TABLE IF NOT EXISTS logins.people (
    login text PRIMARY KEY,
    role text NOT NULL,
    mail text NOT NULL,
    salt bytea NOT NULL,
    password_hash bytea NOT NULL
);

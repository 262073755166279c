#!/bin/bash
# Run by the image on the first start, when there is no data yet: makes a database and roles for each program.
# Each role owns or reads only what its program needs; the passwords come from secrets/postgres.env.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv temporal TEMPORAL_ROLE_PASSWORD
\getenv owner OWNER_ROLE_PASSWORD
\getenv serve SERVE_ROLE_PASSWORD
\getenv http_worker HTTP_WORKER_ROLE_PASSWORD
\getenv worker WORKER_ROLE_PASSWORD
\getenv loadtest LOADTEST_ROLE_PASSWORD
\getenv relay RELAY_ROLE_PASSWORD
\getenv sequin SEQUIN_ROLE_PASSWORD

CREATE ROLE temporal LOGIN PASSWORD :'temporal';
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;

CREATE ROLE sequin LOGIN PASSWORD :'sequin';
CREATE DATABASE sequin OWNER sequin;

-- The migrations would make these groups. They are made here so that the owner needs no right to make roles.
CREATE ROLE delegator_app NOLOGIN;
CREATE ROLE delegator_enqueuer NOLOGIN;
CREATE ROLE delegator_worker NOLOGIN;
CREATE ROLE delegator_maintenance NOLOGIN;
CREATE ROLE delegator_stream NOLOGIN;
CREATE ROLE delegator_enqueue NOLOGIN;
CREATE ROLE delegator_owner LOGIN PASSWORD :'owner';
CREATE ROLE delegator_login_serve LOGIN PASSWORD :'serve' IN ROLE delegator_maintenance;
CREATE ROLE delegator_login_http_worker LOGIN PASSWORD :'http_worker' IN ROLE delegator_worker;
CREATE ROLE delegator_login_worker LOGIN PASSWORD :'worker' IN ROLE delegator_enqueuer;
-- The load test runs workers of both kinds.
CREATE ROLE delegator_login_loadtest LOGIN PASSWORD :'loadtest' IN ROLE delegator_app;
CREATE ROLE delegator_login_relay LOGIN REPLICATION PASSWORD :'relay' IN ROLE delegator_stream;
CREATE DATABASE delegator OWNER delegator_owner;

REVOKE CONNECT, TEMPORARY ON DATABASE postgres, temporal, temporal_visibility, sequin, delegator FROM PUBLIC;
GRANT CONNECT ON DATABASE delegator TO delegator_app, delegator_enqueuer, delegator_worker, delegator_maintenance,
  delegator_stream, delegator_enqueue;
SQL

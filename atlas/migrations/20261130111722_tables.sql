-- Create "custom_task_dead_letter" table
CREATE TABLE "custom_task_dead_letter" (
  "dead_letter_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  "queue" text NOT NULL,
  "reason" text NOT NULL,
  "error" text NOT NULL,
  "failure" bytea NULL,
  "job_id" text NOT NULL,
  "job_type" text NOT NULL,
  "input" bytea NULL,
  "header" bytea NULL,
  "options" jsonb NULL,
  "namespace" text NULL,
  "workflow_id" text NULL,
  "run_id" uuid NULL,
  "attempt" integer NOT NULL,
  "enqueued_at" timestamptz NOT NULL,
  "died_at" timestamptz NOT NULL DEFAULT now(),
  "format_version" smallint NOT NULL DEFAULT 1,
  PRIMARY KEY ("dead_letter_id")
);
-- Create index "custom_task_dead_letter_died_at" to table: "custom_task_dead_letter"
CREATE INDEX "custom_task_dead_letter_died_at" ON "custom_task_dead_letter" ("died_at");
-- Create index "custom_task_dead_letter_job_id" to table: "custom_task_dead_letter"
CREATE INDEX "custom_task_dead_letter_job_id" ON "custom_task_dead_letter" ("job_id");
-- Create "custom_task_lease" table
CREATE TABLE "custom_task_lease" (
  "lease_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  "role" text NOT NULL,
  "holder" text NOT NULL,
  "queue" text NULL,
  "granted_at" timestamptz NOT NULL DEFAULT now(),
  "expires_at" timestamptz NOT NULL,
  "delivery_watermark" timestamptz NULL,
  PRIMARY KEY ("lease_id"),
  CONSTRAINT "custom_task_lease_role" CHECK (role = ANY (ARRAY['worker'::text, 'enqueuer'::text]))
);
-- Create "custom_task_queue" table
CREATE TABLE "custom_task_queue" (
  "job_id" text NOT NULL,
  "job_type" text NOT NULL,
  "input" bytea NULL,
  "header" bytea NULL,
  "options" jsonb NULL,
  "namespace" text NULL,
  "workflow_id" text NULL,
  "run_id" uuid NULL,
  "task_token" bytea NULL,
  "enqueued_at" timestamptz NOT NULL DEFAULT now(),
  "published_at" timestamptz NOT NULL DEFAULT now(),
  "deadline" timestamptz NULL,
  "attempt" integer NOT NULL DEFAULT 0,
  "lease_id" bigint NULL,
  "fencing_token" bigint NOT NULL DEFAULT ((pg_current_xact_id())::text)::bigint,
  "retry_at" timestamptz NULL,
  "cancel_requested" boolean NOT NULL DEFAULT false,
  "waiter_id" bigint NULL,
  "outcome" text NULL,
  "result" bytea NULL,
  "completed_at" timestamptz NULL,
  "last_failure" bytea NULL,
  "heartbeat_details" bytea NULL,
  "format_version" smallint NOT NULL DEFAULT 1,
  PRIMARY KEY ("job_id"),
  CONSTRAINT "custom_task_queue_outcome" CHECK (outcome = ANY (ARRAY['completed'::text, 'failed'::text, 'canceled'::text]))
);
-- Create index "custom_task_queue_deadline" to table: "custom_task_queue"
CREATE INDEX "custom_task_queue_deadline" ON "custom_task_queue" ("deadline") WHERE (deadline IS NOT NULL);
-- Create index "custom_task_queue_published_at" to table: "custom_task_queue"
CREATE INDEX "custom_task_queue_published_at" ON "custom_task_queue" ("published_at");
-- Create index "custom_task_queue_retry_at" to table: "custom_task_queue"
CREATE INDEX "custom_task_queue_retry_at" ON "custom_task_queue" ("retry_at") WHERE (retry_at IS NOT NULL);

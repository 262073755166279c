-- Modify "custom_task_dead_letter" table
ALTER TABLE "custom_task_dead_letter" ADD COLUMN "operation" text NULL;
-- Create "custom_task_outbox" table
CREATE TABLE "custom_task_outbox" (
  "seq" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  "operation" text NOT NULL,
  "namespace" text NULL,
  "workflow_id" text NOT NULL,
  "workflow_type" text NULL,
  "task_queue" text NULL,
  "name" text NULL,
  "input" bytea NULL,
  "signal_input" bytea NULL,
  "options" jsonb NULL,
  "request_id" uuid NOT NULL DEFAULT gen_random_uuid(),
  "key" text NULL,
  "created_at" timestamptz NOT NULL DEFAULT clock_timestamp(),
  "due_at" timestamptz NOT NULL DEFAULT clock_timestamp(),
  "attempt" integer NOT NULL DEFAULT 0,
  "refused_since" timestamptz NULL,
  "last_error" text NULL,
  "format_version" smallint NOT NULL DEFAULT 1,
  PRIMARY KEY ("seq"),
  CONSTRAINT "custom_task_outbox_operation" CHECK (operation = ANY (ARRAY['start'::text, 'signal'::text, 'signal_with_start'::text, 'cancel'::text]))
);
-- Create index "custom_task_outbox_due_at" to table: "custom_task_outbox"
CREATE INDEX "custom_task_outbox_due_at" ON "custom_task_outbox" ("due_at");
-- Create index "custom_task_outbox_key" to table: "custom_task_outbox"
CREATE UNIQUE INDEX "custom_task_outbox_key" ON "custom_task_outbox" ("key");
-- Create index "custom_task_outbox_workflow_id" to table: "custom_task_outbox"
CREATE INDEX "custom_task_outbox_workflow_id" ON "custom_task_outbox" ("workflow_id", "seq");
-- Create "custom_task_unique" table
CREATE TABLE "custom_task_unique" (
  "unique_id" text NOT NULL,
  "expires_at" timestamptz NOT NULL,
  PRIMARY KEY ("unique_id")
);
-- Create index "custom_task_unique_expires_at" to table: "custom_task_unique"
CREATE INDEX "custom_task_unique_expires_at" ON "custom_task_unique" ("expires_at");

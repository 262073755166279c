-- Modify "custom_task_lease" table
ALTER TABLE "custom_task_lease" ADD COLUMN "version" text NULL, ADD COLUMN "renewed_at" timestamptz NULL, ADD COLUMN "report" jsonb NULL;
-- Create "custom_task_pause" table
CREATE TABLE "custom_task_pause" (
  "pause_id" text NOT NULL,
  "queue" text NOT NULL,
  "job_type" text NULL,
  "paused_at" timestamptz NOT NULL DEFAULT now(),
  "paused_by" text NOT NULL,
  "note" text NULL,
  PRIMARY KEY ("pause_id")
);

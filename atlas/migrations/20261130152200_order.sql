-- Modify "custom_task_dead_letter" table
ALTER TABLE "custom_task_dead_letter" ADD COLUMN "priority" smallint NULL;
-- Modify "custom_task_queue" table
ALTER TABLE "custom_task_queue" ADD COLUMN "priority" smallint NULL, ADD COLUMN "lane" text NULL, ADD COLUMN "permit" text NULL;
-- Create index "custom_task_queue_lane" to table: "custom_task_queue"
CREATE INDEX "custom_task_queue_lane" ON "custom_task_queue" ("priority", "lane", "published_at") WHERE (lane IS NOT NULL);
-- Create index "custom_task_queue_permit" to table: "custom_task_queue"
CREATE INDEX "custom_task_queue_permit" ON "custom_task_queue" ("permit") WHERE (permit IS NOT NULL);
-- Create "custom_task_rate" table
CREATE TABLE "custom_task_rate" (
  "limit_id" text NOT NULL,
  "next_start_at" timestamptz NOT NULL,
  PRIMARY KEY ("limit_id")
);

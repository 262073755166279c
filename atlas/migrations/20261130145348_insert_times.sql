-- Modify "custom_task_queue" table
ALTER TABLE "custom_task_queue" ALTER COLUMN "enqueued_at" SET DEFAULT clock_timestamp(), ALTER COLUMN "published_at" SET DEFAULT clock_timestamp();

-- Modify "custom_task_lease" table
ALTER TABLE "custom_task_lease" ADD COLUMN "cluster" text NULL;

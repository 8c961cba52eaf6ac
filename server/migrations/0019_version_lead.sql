-- The number by which a device's payload versions lie above those that its customer draws.
ALTER TABLE devices ADD COLUMN version_lead BIGINT NOT NULL DEFAULT 0;

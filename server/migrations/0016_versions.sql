-- The highest payload version that a customer's devices were given: the next one is above it, also when
-- the clock was set back in between.
ALTER TABLE companies ADD COLUMN latest_version BIGINT NOT NULL DEFAULT 0;

UPDATE companies SET latest_version = COALESCE(
    (SELECT MAX(at) FROM (
        SELECT updated_at AS at FROM configurations WHERE customer_id = companies.id
        UNION ALL SELECT configured_at FROM claims WHERE customer_id = companies.id
        UNION ALL SELECT companies.default_set_at
    ) AS versions), 0);

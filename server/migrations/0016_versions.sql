-- The highest payload version that a customer's devices were given: the next one is above it, also when
-- the clock was set back in between.
ALTER TABLE companies ADD COLUMN latest_version BIGINT NOT NULL DEFAULT 0;

UPDATE companies SET latest_version = COALESCE(
    (SELECT MAX(at) FROM (
        SELECT updated_at AS at FROM configurations WHERE customer_id = companies.id
        UNION ALL SELECT configured_at FROM claims WHERE customer_id = companies.id
        UNION ALL SELECT companies.default_set_at
    ) AS versions), 0);

-- By the key that a device is bound to, so that a copied one is noticed. While a device changes its key, it
-- has two.
CREATE INDEX devices_by_latest_key ON devices (latest_key);
CREATE INDEX devices_by_active_key ON devices (active_key) WHERE active_key <> latest_key;

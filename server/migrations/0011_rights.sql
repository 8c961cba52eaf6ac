-- Whether a customer lets the stations of factories register keys for claims that are there already.

ALTER TABLE companies ADD COLUMN factory_keys BIGINT NOT NULL DEFAULT 0;

-- Claims that are released for a time, by who registered them: the releases end with the link.

CREATE INDEX claims_on_vacation ON claims (reseller_id, customer_id)
    WHERE vacation_started_at IS NOT NULL AND released_at IS NULL;

-- The same text for all names that look alike (Name::skeleton); empty for companies of before.

ALTER TABLE companies ADD COLUMN skeleton TEXT NOT NULL DEFAULT '';
CREATE INDEX companies_by_skeleton ON companies (skeleton);

-- What the readiness probe writes: that a write reaches the disk is all that it says.

CREATE TABLE readiness (
    id BIGINT PRIMARY KEY,
    written_at BIGINT NOT NULL
);

-- Lists in pages: each page begins where the one before it ended.
CREATE INDEX companies_by_kind ON companies (kind, id);
CREATE INDEX configurations_by_customer ON configurations (customer_id, id);
CREATE INDEX factory_keys_by_lookup ON factory_keys (lookup, record_id);
CREATE INDEX claims_by_reseller_age ON claims (reseller_id, id) WHERE reseller_id IS NOT NULL;

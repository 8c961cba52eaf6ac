-- Beside the identifier that a claim is found by, the maker and model within which it is unique, folded;
-- empty where it is unique by itself.
CREATE TABLE claim_keys_with_names (
    lookup TEXT NOT NULL,
    named TEXT NOT NULL,
    claim_id BIGINT NOT NULL REFERENCES claims (id),
    PRIMARY KEY (lookup, named, claim_id)
) /* WITHOUT ROWID */;
INSERT INTO claim_keys_with_names (lookup, named, claim_id) SELECT lookup, '', claim_id FROM claim_keys;
DROP TABLE claim_keys;
ALTER TABLE claim_keys_with_names RENAME TO claim_keys;

-- JSON: the last time that the claim's device matched claims of other owners, too.
ALTER TABLE claims ADD COLUMN collision TEXT;
CREATE INDEX claims_colliding ON claims (id) WHERE collision IS NOT NULL;

-- When the device first enrolled, and from where its own key was last heard.
ALTER TABLE devices ADD COLUMN bound_at BIGINT;
ALTER TABLE devices ADD COLUMN source TEXT;
UPDATE devices SET bound_at = created_at WHERE latest_generation IS NOT NULL;

-- From where it was asked, and what ties whoever asked to the device.
ALTER TABLE approval_requests ADD COLUMN source TEXT;
ALTER TABLE approval_requests ADD COLUMN tie TEXT NOT NULL DEFAULT 'none';

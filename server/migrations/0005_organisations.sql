-- To which company whoever did something belongs: an organisation sees what its own people did, also to
-- things of others.

ALTER TABLE audit ADD COLUMN company_id BIGINT;
CREATE INDEX audit_by_company ON audit (company_id, id) WHERE company_id IS NOT NULL;

-- Claims that ended, which are forgotten after a while.
CREATE INDEX claims_ended ON claims (released_at) WHERE released_at IS NOT NULL;
CREATE INDEX factory_records_by_claim ON factory_records (claim_id) WHERE claim_id IS NOT NULL;

-- Room that operations take, about: what was asked, and what becomes of it.
ALTER TABLE operations ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
CREATE INDEX operations_room ON operations (company_id, bytes);

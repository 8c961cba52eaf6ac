-- Operations that were given up, and those that are forgotten after a while.

ALTER TABLE operations ADD COLUMN cancelled_at BIGINT;
CREATE INDEX operations_unfinished ON operations (company_id, id) WHERE done_at IS NULL;
CREATE INDEX operations_done ON operations (done_at) WHERE done_at IS NOT NULL;

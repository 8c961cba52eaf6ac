-- The account that asked for an operation, with whose rights it ends; NULL for operations of before.
ALTER TABLE operations ADD COLUMN account_id BIGINT;

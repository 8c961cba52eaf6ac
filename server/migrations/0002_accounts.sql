-- Accounts, and what they sign in with. Secrets are stored as digests, keys by their public half:
-- whoever reads these tables cannot sign in as anybody.

CREATE TABLE accounts (
    id BIGINT PRIMARY KEY,
    -- NULL: the operator's own.
    company_id BIGINT REFERENCES companies (id),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);
CREATE UNIQUE INDEX accounts_by_email ON accounts (email, COALESCE(company_id, 0));
CREATE INDEX accounts_by_company ON accounts (company_id, id);

CREATE TABLE api_keys (
    id BIGINT PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX api_keys_by_account ON api_keys (account_id, id);

CREATE TABLE service_account_keys (
    id TEXT NOT NULL PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- SubjectPublicKeyInfo: DER in base64.
    public_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
) /* WITHOUT ROWID */;
CREATE INDEX service_account_keys_by_account ON service_account_keys (account_id, created_at);

-- A token is its key's account's, and is worth nothing once the key is revoked.
CREATE TABLE access_tokens (
    digest TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES service_account_keys (id) ON DELETE CASCADE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) /* WITHOUT ROWID */;
CREATE INDEX access_tokens_by_key ON access_tokens (key_id);
CREATE INDEX access_tokens_by_expiry ON access_tokens (expires_at);

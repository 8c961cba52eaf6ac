-- The first schema. One text for SQLite and PostgreSQL: ids and times (epoch ms) are BIGINT,
-- digests, keys and documents are TEXT, flags are BIGINT. What differs is in store/dialect.rs:
-- on SQLite an id is the row's own number, and a table whose key is the whole point needs no other.

CREATE TABLE companies (
    id BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    parent_id BIGINT REFERENCES companies (id),
    terms TEXT NOT NULL,
    language TEXT,
    workspace TEXT UNIQUE,
    device_protection BIGINT NOT NULL,
    default_configuration_id BIGINT,
    default_set_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (kind, name)
);
CREATE INDEX companies_by_parent ON companies (parent_id, id) WHERE parent_id IS NOT NULL;

-- For which customers a reseller, a vendor or an EMM works.
CREATE TABLE company_links (
    company_id BIGINT NOT NULL REFERENCES companies (id),
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (company_id, customer_id)
) /* WITHOUT ROWID */;
CREATE INDEX company_links_by_customer ON company_links (customer_id);

CREATE TABLE configurations (
    id BIGINT PRIMARY KEY,
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (customer_id, name)
);

-- Bytes that devices download, whoever has them: each once.
CREATE TABLE artifacts (
    sha256 TEXT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL
);

-- Who has them registered: a customer for itself, or the operator (NULL) for all customers.
CREATE TABLE artifact_registrations (
    id BIGINT PRIMARY KEY,
    sha256 TEXT NOT NULL REFERENCES artifacts (sha256),
    customer_id BIGINT REFERENCES companies (id),
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX artifact_registrations_by_owner ON artifact_registrations (sha256, COALESCE(customer_id, 0));
CREATE INDEX artifact_registrations_by_customer ON artifact_registrations (customer_id, id);

-- Uploads in several requests. `received` bytes are on disk, in a file that the id names.
CREATE TABLE uploads (
    id BIGINT PRIMARY KEY,
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    name TEXT NOT NULL,
    size BIGINT,
    expected TEXT,
    received BIGINT NOT NULL,
    -- The digest, once it is registered: who lost that answer asks again.
    finished TEXT,
    created_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL
);
CREATE INDEX uploads_by_customer ON uploads (customer_id, id);
CREATE INDEX uploads_by_age ON uploads (touched_at);

-- What customers choose from when they configure over the network.
CREATE TABLE dpcs (
    name TEXT NOT NULL PRIMARY KEY,
    title TEXT NOT NULL,
    document TEXT NOT NULL,
    -- The artifact, if it has to be on this server.
    sha256 TEXT REFERENCES artifacts (sha256),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX dpcs_by_artifact ON dpcs (sha256) WHERE sha256 IS NOT NULL;

-- What a configuration needs on this server; keeps an artifact from being deleted under it.
CREATE TABLE configuration_artifacts (
    sha256 TEXT NOT NULL REFERENCES artifacts (sha256),
    configuration_id BIGINT NOT NULL REFERENCES configurations (id) ON DELETE CASCADE,
    PRIMARY KEY (sha256, configuration_id)
) /* WITHOUT ROWID */;
CREATE INDEX configuration_artifacts_by_configuration ON configuration_artifacts (configuration_id);

-- A token is stored as its digest: whoever reads this table cannot enroll anything.
CREATE TABLE tokens (
    id BIGINT PRIMARY KEY,
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    configuration_id BIGINT REFERENCES configurations (id),
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX tokens_by_customer ON tokens (customer_id, id);
CREATE INDEX tokens_by_configuration ON tokens (configuration_id);

CREATE TABLE claims (
    id BIGINT PRIMARY KEY,
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    reseller_id BIGINT REFERENCES companies (id),
    configuration_id BIGINT REFERENCES configurations (id),
    configured_at BIGINT NOT NULL,
    proof TEXT NOT NULL,
    activation_ends_at BIGINT NOT NULL,
    -- JSON: sets of [kind, value].
    identifiers TEXT NOT NULL,
    order_name TEXT,
    -- JSON: what the reseller wrote beside it.
    metadata TEXT,
    -- Set while it is released for a time.
    vacation_started_at BIGINT,
    vacation_ends_at BIGINT,
    protected BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    released_at BIGINT
);
CREATE INDEX claims_by_customer ON claims (customer_id, id);
CREATE INDEX claims_by_reseller ON claims (reseller_id, customer_id, id)
    WHERE reseller_id IS NOT NULL AND released_at IS NULL;
CREATE INDEX claims_by_configuration ON claims (configuration_id) WHERE configuration_id IS NOT NULL;

-- `kind value` of the strongest identifier of each set of each claim that is in force.
CREATE TABLE claim_keys (
    lookup TEXT NOT NULL,
    claim_id BIGINT NOT NULL REFERENCES claims (id),
    PRIMARY KEY (lookup, claim_id)
) /* WITHOUT ROWID */;

-- The identifiers of a claim by which people look for it and devices do not: those of `claim_keys`
-- are stronger.
CREATE TABLE claim_search (
    lookup TEXT NOT NULL,
    claim_id BIGINT NOT NULL REFERENCES claims (id),
    PRIMARY KEY (lookup, claim_id)
) /* WITHOUT ROWID */;

-- What an organisation's test stations registered: devices, their keys among their identifiers. It
-- claims nothing.
CREATE TABLE factory_records (
    id BIGINT PRIMARY KEY,
    company_id BIGINT NOT NULL REFERENCES companies (id),
    -- JSON: everything that the device showed.
    identifiers TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);
CREATE INDEX factory_records_by_company ON factory_records (company_id, id);

-- `kind value` of whatever tells such a device from others.
CREATE TABLE factory_keys (
    company_id BIGINT NOT NULL REFERENCES companies (id),
    lookup TEXT NOT NULL,
    record_id BIGINT NOT NULL REFERENCES factory_records (id),
    PRIMARY KEY (company_id, lookup, record_id)
) /* WITHOUT ROWID */;
CREATE INDEX factory_keys_by_record ON factory_keys (record_id);

-- How many claims of a reseller are in force, so that a list can say how long it is.
CREATE TABLE claim_counts (
    reseller_id BIGINT NOT NULL REFERENCES companies (id),
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    claims BIGINT NOT NULL,
    PRIMARY KEY (reseller_id, customer_id)
) /* WITHOUT ROWID */;

-- What is done with many devices, a part at a time.
CREATE TABLE operations (
    id BIGINT PRIMARY KEY,
    company_id BIGINT NOT NULL REFERENCES companies (id),
    kind TEXT NOT NULL,
    created_by TEXT NOT NULL,
    items BIGINT NOT NULL,
    done BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    done_at BIGINT
);
CREATE INDEX operations_by_company ON operations (company_id, id);
CREATE INDEX operations_to_do ON operations (id) WHERE done_at IS NULL;

-- `work` is emptied when it is done; what was asked and what became of it stay.
CREATE TABLE operation_items (
    operation_id BIGINT NOT NULL REFERENCES operations (id),
    position BIGINT NOT NULL,
    echo TEXT NOT NULL,
    work TEXT NOT NULL,
    result TEXT,
    PRIMARY KEY (operation_id, position)
) /* WITHOUT ROWID */;

CREATE TABLE devices (
    id BIGINT PRIMARY KEY,
    claim_id BIGINT NOT NULL UNIQUE REFERENCES claims (id),
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    state TEXT NOT NULL,
    -- JSON: the state with what belongs to it.
    state_detail TEXT NOT NULL,
    latest_generation BIGINT,
    latest_key TEXT,
    latest_ticket TEXT,
    active_generation BIGINT,
    active_key TEXT,
    -- JSON: the identifiers as they were when it was granted last.
    identity TEXT,
    re_enroll_requested_at BIGINT,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    agent_version TEXT,
    healthy BIGINT,
    installed TEXT,
    failed_version BIGINT,
    outcome TEXT
);
CREATE INDEX devices_by_customer ON devices (customer_id, id);
CREATE INDEX devices_by_state ON devices (state, id);

CREATE TABLE approval_requests (
    device_id BIGINT NOT NULL REFERENCES devices (id),
    key_digest TEXT NOT NULL,
    customer_id BIGINT NOT NULL REFERENCES companies (id),
    identity TEXT NOT NULL,
    replaced TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    approved_at BIGINT,
    PRIMARY KEY (device_id, key_digest)
) /* WITHOUT ROWID */;

CREATE TABLE reset_tickets (
    digest TEXT NOT NULL PRIMARY KEY,
    device_id BIGINT NOT NULL REFERENCES devices (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX reset_tickets_by_device ON reset_tickets (device_id);

CREATE TABLE reports (
    device_id BIGINT NOT NULL REFERENCES devices (id),
    generation BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    happened_at BIGINT NOT NULL,
    progress TEXT NOT NULL,
    detail TEXT,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (device_id, generation, sequence)
) /* WITHOUT ROWID */;

-- `fold` names what is counted in one row instead of being stored once each.
CREATE TABLE audit (
    id BIGINT PRIMARY KEY,
    happened_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    customer_id BIGINT,
    detail TEXT NOT NULL,
    fold TEXT,
    times BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX audit_by_fold ON audit (fold) WHERE fold IS NOT NULL;
CREATE INDEX audit_by_subject ON audit (subject, id);
CREATE INDEX audit_by_customer ON audit (customer_id, id) WHERE customer_id IS NOT NULL;

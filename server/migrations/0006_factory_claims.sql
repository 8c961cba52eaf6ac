-- Which claim got its device key from a record, so that the key can be taken back with it.

ALTER TABLE factory_records ADD COLUMN claim_id BIGINT REFERENCES claims (id);

-- Of what was registered before: the claim of the same organisation that is found by the record's key.
UPDATE factory_records SET claim_id =
    (SELECT MIN(c.id) FROM factory_keys AS f
         JOIN claim_keys AS k ON k.lookup = f.lookup
         JOIN claims AS c ON c.id = k.claim_id
         WHERE f.record_id = factory_records.id AND f.lookup LIKE 'device_key %'
             AND (c.reseller_id = factory_records.company_id OR c.customer_id = factory_records.company_id));

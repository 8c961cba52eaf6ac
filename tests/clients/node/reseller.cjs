// A reseller's round with Google's client for Node: sign in, find the customer, claim one device and many,
// find them, release them. Run against a sandbox; its directory is in UNBOX_SANDBOX.
'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { androiddeviceprovisioning, auth } = require('@googleapis/androiddeviceprovisioning');

const sandbox = (name) => JSON.parse(readFileSync(join(process.env.UNBOX_SANDBOX, name), 'utf8'));
const env = sandbox('env.json');
const key = sandbox('reseller.json');
const ZERO_TOUCH = 'SECTION_TYPE_ZERO_TOUCH';
const GOOGLES_TOKENS = 'https://oauth2.googleapis.com/token';

// The library signs in with Google whatever the key file says: its request is turned, as the server's
// README shows.
function signedIn() {
  const client = new auth.JWT({
    email: key.client_email,
    key: key.private_key,
    scopes: ['https://www.googleapis.com/auth/androidworkprovisioning'],
  });
  client.transporter.interceptors.request.add({
    resolved: async (request) => {
      if (String(request.url) === GOOGLES_TOKENS) request.url = new URL(key.token_uri);
      return request;
    },
  });
  return androiddeviceprovisioning({ version: 'v1', auth: client, rootUrl: `${env.base_url}/` });
}

const identifier = (serialNumber) => ({ serialNumber, manufacturer: 'Acme', model: 'Gateway 3' });

async function ended(operations, operation) {
  for (let again = 0; again < 600; again += 1) {
    const { data } = await operations.get({ name: operation.name });
    if (data.done) return data;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it goes on and on: ${operation.name}`);
}

async function main() {
  const { partners, operations } = signedIn();
  const partnerId = env.partner_id;

  const { data: listed } = await partners.customers.list({ partnerId, pageSize: 100 });
  const [customer] = listed.customers;
  assert.equal(customer.companyId, env.customer_id);
  const customerId = customer.companyId;

  const claim = (serial) => ({ deviceIdentifier: identifier(serial), sectionType: ZERO_TOUCH, customerId });
  const { data: claimed } = await partners.devices.claim({ partnerId, requestBody: claim('NODE0001') });
  assert.equal(claimed.deviceName, `partners/${partnerId}/devices/${claimed.deviceId}`);
  const { data: device } = await partners.devices.get({ name: claimed.deviceName });
  assert.equal(device.deviceIdentifier.serialNumber, 'NODE0001');
  assert.equal(device.claims[0].ownerCompanyId, customerId);

  const entries = { ordernumber: '4711' };
  const { data: noted } = await partners.devices.metadata({
    metadataOwnerId: partnerId,
    deviceId: claimed.deviceId,
    requestBody: { deviceMetadata: { entries } },
  });
  assert.deepEqual(noted, { entries });

  const claims = ['NODE0002', 'NODE0003', '0'].map(claim);
  const { data: started } = await partners.devices.claimAsync({ partnerId, requestBody: { claims } });
  const operation = await ended(operations, started);
  const results = operation.response.perDeviceStatus;
  assert.equal(operation.response.successCount, 2);
  assert.deepEqual(results.map((one) => one.claim), claims);
  assert.equal(results[2].result.status, 'SINGLE_DEVICE_STATUS_INVALID_DEVICE_IDENTIFIER');

  const find = { deviceIdentifier: identifier('NODE0002'), limit: '10' };
  const { data: found } = await partners.devices.findByIdentifier({ partnerId, requestBody: find });
  assert.deepEqual(found.devices.map((one) => one.deviceId), [results[0].result.deviceId]);

  const { data: owned } = await partners.devices.findByOwner({
    partnerId,
    requestBody: { customerId: [customerId], limit: '100', sectionType: ZERO_TOUCH },
  });
  assert.equal(owned.totalSize, 3);

  const { data: released } = await partners.devices.unclaim({
    partnerId,
    requestBody: { deviceId: claimed.deviceId, sectionType: ZERO_TOUCH },
  });
  assert.deepEqual(released, {});
  await assert.rejects(partners.devices.get({ name: claimed.deviceName }), (error) => {
    assert.equal(error.status ?? Number(error.code), 404);
    assert.match(error.message, new RegExp(claimed.deviceId));
    return true;
  });
}

main().then(
  () => console.log('The reseller has been served.'),
  (error) => {
    console.error(error.stack, error.response?.data);
    process.exitCode = 1;
  },
);

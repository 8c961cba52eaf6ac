"""Schemathesis tries the API against its own description, from both of its sides: whatever it sends, no
answer is a server error, and every one is described.
"""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def there(env, reseller, customer):
    """The ids of something to ask for, by the names of variables in schemathesis.toml."""
    partner, owner = env["partner_id"], env["customer_id"]
    claim = {
        "deviceIdentifier": {"serialNumber": "ST000001", "manufacturer": "Acme", "model": "Gateway 3"},
        "sectionType": "SECTION_TYPE_ZERO_TOUCH",
        "customerId": owner,
    }
    devices = reseller.partners().devices()
    device = devices.claim(partnerId=partner, body=claim).execute()["deviceId"]
    operation = devices.claimAsync(partnerId=partner, body={"claims": [claim]}).execute()["name"]
    configuration = {
        "configurationName": "Tried",
        "companyName": "Sandbox Customer",
        "contactEmail": "it@customer.example",
        "contactPhone": "+41 44 000 00 00",
        "dpcResourcePath": env["dpc"],
        "isDefault": False,
    }
    configurations = customer.customers().configurations()
    created = configurations.create(parent=f"customers/{owner}", body=configuration).execute()
    return {
        "UNBOX_PARTNER": partner,
        "UNBOX_VENDOR": env["vendor_id"],
        "UNBOX_CUSTOMER": owner,
        "UNBOX_DEVICE": device,
        "UNBOX_CONFIGURATION": created["configurationId"],
        "UNBOX_OPERATION": operation.removeprefix("operations/"),
    }


@pytest.mark.parametrize("principal, company", [("reseller", "partner_id"), ("customer", "customer_id")])
def test_every_answer_is_described_and_none_is_a_server_error(principal, company, env, there, tmp_path):
    program = pathlib.Path(sys.executable).with_name("schemathesis")
    ended = subprocess.run(
        [program, "--config-file", HERE / "schemathesis.toml", "run", f"{env['base_url']}/openapi.json"],
        env={
            **os.environ,
            **there,
            "UNBOX_ORGANISATION": env[company],
            "UNBOX_API_KEY": env["api_keys"][principal],
            "SCHEMATHESIS_HOOKS": "hooks",
            "PYTHONPATH": str(HERE),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, f"{ended.stdout[-20000:]}{ended.stderr[-2000:]}"
    print(ended.stdout[-1000:])

"""What every test of this folder has: the sandbox that runs, and a client signed in for each company.

Every client is Google's own, as its users build it: from the discovery document that it ships, with a
service account's key file, pointed at our server. Nothing in it is changed but the address.
"""

import itertools
import json
import os
import pathlib

import pytest
from google.oauth2 import service_account
from googleapiclient.discovery import build
from googleapiclient.http import HttpRequest

SANDBOX = pathlib.Path(os.environ["UNBOX_SANDBOX"])
SCOPES = {
    "reseller": "https://www.googleapis.com/auth/androidworkprovisioning",
    "customer": "https://www.googleapis.com/auth/androidworkzerotouchemm",
    "emm": "https://www.googleapis.com/auth/androidworkzerotouchemm",
}

called = set()


class Recorded(HttpRequest):
    """A request that notes which method it was for, once it was answered."""

    def execute(self, *args, **kwargs):
        answer = super().execute(*args, **kwargs)
        called.add(self.methodId)
        return answer


@pytest.fixture(scope="session")
def env():
    return json.loads((SANDBOX / "env.json").read_text())


def signed_in(env, company):
    credentials = service_account.Credentials.from_service_account_file(
        SANDBOX / f"{company}.json", scopes=[SCOPES[company]]
    )
    return build(
        "androiddeviceprovisioning",
        "v1",
        credentials=credentials,
        static_discovery=True,
        requestBuilder=Recorded,
        client_options={"api_endpoint": env["base_url"]},
    )


@pytest.fixture(scope="session")
def reseller(env):
    return signed_in(env, "reseller")


@pytest.fixture(scope="session")
def customer(env):
    return signed_in(env, "customer")


@pytest.fixture(scope="session")
def emm(env):
    return signed_in(env, "emm")


numbers = itertools.count(1)


@pytest.fixture
def serial():
    """Serial numbers that no other test uses."""
    return lambda: f"PY{next(numbers):06}"

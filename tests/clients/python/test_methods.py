"""Google's Python client makes every call of the API, and every answer is what its users expect."""

import datetime
import json
import time

import pytest
from conftest import called
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest

ZERO_TOUCH = "SECTION_TYPE_ZERO_TOUCH"


def identifier(serial):
    return {"serialNumber": serial, "manufacturer": "Acme", "model": "Gateway 3"}


def claim_of(env, serial, **more):
    return {
        "deviceIdentifier": identifier(serial),
        "sectionType": ZERO_TOUCH,
        "customerId": env["customer_id"],
        **more,
    }


def claim(reseller, env, serial, **more):
    devices = reseller.partners().devices()
    return devices.claim(partnerId=env["partner_id"], body=claim_of(env, serial, **more)).execute()


def partner_device(reseller, env, device_id):
    name = f"partners/{env['partner_id']}/devices/{device_id}"
    return reseller.partners().devices().get(name=name).execute()


def refused(request, status, code):
    """The error that a request ends in, with its details by their types."""
    with pytest.raises(HttpError) as caught:
        request.execute()
    error = caught.value
    assert (error.status_code, json.loads(error.content)["error"]["status"]) == (status, code), error
    details = error.error_details if isinstance(error.error_details, list) else []
    return error, {detail["@type"].rsplit(".", 1)[-1]: detail for detail in details}


def ended(reseller, operation):
    """An operation once it has ended."""
    assert operation["name"].startswith("operations/")
    for _ in range(600):
        operation = reseller.operations().get(name=operation["name"]).execute()
        if operation.get("done"):
            return operation
        time.sleep(0.05)
    raise AssertionError(f"it goes on and on: {operation}")


def configuration(env, name, **more):
    return {
        "configurationName": name,
        "companyName": "Sandbox Customer",
        "contactEmail": "it@customer.example",
        "contactPhone": "+41 44 000 00 00",
        "dpcResourcePath": env["dpc"],
        "isDefault": False,
        **more,
    }


def test_a_device_is_claimed_found_and_released_again(reseller, env, serial):
    number = serial()
    answer = claim(reseller, env, number, deviceMetadata={"entries": {"ordernumber": "4711"}})
    device_id = answer["deviceId"]
    assert isinstance(device_id, str)
    assert answer["deviceName"] == f"partners/{env['partner_id']}/devices/{device_id}"
    device = partner_device(reseller, env, device_id)
    assert device["deviceId"] == device_id
    assert device["deviceIdentifier"]["serialNumber"] == number
    assert device["deviceMetadata"] == {"entries": {"ordernumber": "4711"}}
    [held] = device["claims"]
    assert held["ownerCompanyId"] == env["customer_id"]
    assert held["resellerId"] == env["partner_id"]
    assert held["sectionType"] == ZERO_TOUCH

    devices = reseller.partners().devices()
    # As printed on some labels: the case of a serial number does not count.
    for wanted in (number, number.lower()):
        body = {"deviceIdentifier": identifier(wanted), "limit": "10"}
        found = devices.findByIdentifier(partnerId=env["partner_id"], body=body).execute()
        assert [one["deviceId"] for one in found["devices"]] == [device_id]
        assert found["totalSize"] == 1

    released = devices.unclaim(
        partnerId=env["partner_id"], body={"deviceId": device_id, "sectionType": ZERO_TOUCH}
    )
    assert released.execute() == {}
    body = {"deviceIdentifier": identifier(number), "limit": 10}
    assert "devices" not in devices.findByIdentifier(partnerId=env["partner_id"], body=body).execute()
    assert claim(reseller, env, number)["deviceId"]


def test_the_same_claim_again_is_the_same_device_and_a_strangers_is_refused(reseller, env, serial):
    number = serial()
    first = claim(reseller, env, number)
    assert claim(reseller, env, number)["deviceId"] == first["deviceId"]

    other = reseller.partners().customers().create(
        parent=f"partners/{env['partner_id']}",
        body={"customer": {"companyName": "Other Customer", "ownerEmails": ["owner@other.example"]}},
    ).execute()
    assert other["companyName"] == "Other Customer"
    assert other["name"] == f"partners/{env['partner_id']}/customers/{other['companyId']}"
    assert other["termsStatus"] == "TERMS_STATUS_NOT_ACCEPTED"
    body = {**claim_of(env, number), "customerId": other["companyId"]}
    request = reseller.partners().devices().claim(partnerId=env["partner_id"], body=body)
    _, details = refused(request, 409, "ALREADY_EXISTS")
    assert details["ErrorInfo"]["reason"] == "DEVICE_ALREADY_EXISTS"
    [held] = partner_device(reseller, env, first["deviceId"])["claims"]
    assert held["ownerCompanyId"] == env["customer_id"]


def test_owners_are_listed_page_by_page(reseller, env, serial):
    expected = {claim(reseller, env, serial())["deviceId"] for _ in range(5)}
    devices = reseller.partners().devices()
    body = {"customerId": [env["customer_id"]], "limit": 2, "sectionType": ZERO_TOUCH}
    request = devices.findByOwner(partnerId=env["partner_id"], body=body)
    found, totals = [], set()
    while request is not None:
        answer = request.execute()
        assert len(answer["devices"]) <= 2
        found.extend(one["deviceId"] for one in answer["devices"])
        totals.add(answer["totalSize"])
        request = devices.findByOwner_next(request, answer)
    assert expected <= set(found)
    assert len(set(found)) == len(found)
    assert totals == {len(found)}


def test_metadata_is_added_to_and_an_empty_text_deletes(reseller, env, serial):
    device_id = claim(reseller, env, serial())["deviceId"]

    def update(entries):
        return reseller.partners().devices().metadata(
            metadataOwnerId=env["partner_id"],
            deviceId=device_id,
            body={"deviceMetadata": {"entries": entries}},
        ).execute()

    assert update({"ordernumber": "1", "phonenumber": "2"}) == {
        "entries": {"ordernumber": "1", "phonenumber": "2"}
    }
    assert update({"ordernumber": ""}) == {"entries": {"phonenumber": "2"}}
    assert partner_device(reseller, env, device_id)["deviceMetadata"] == {"entries": {"phonenumber": "2"}}


def test_a_device_on_vacation_says_until_when(reseller, env, serial):
    device_id = claim(reseller, env, serial())["deviceId"]
    body = {"deviceId": device_id, "sectionType": ZERO_TOUCH, "vacationModeDays": 7}
    request = reseller.partners().devices().unclaim(partnerId=env["partner_id"], body=body)
    assert request.execute() == {}
    [held] = partner_device(reseller, env, device_id)["claims"]
    start, expire = (
        datetime.datetime.fromisoformat(held[name].replace("Z", "+00:00"))
        for name in ("vacationModeStartTime", "vacationModeExpireTime")
    )
    assert abs(expire - start - datetime.timedelta(days=7)) < datetime.timedelta(seconds=1)


def test_no_device_is_locked_to_a_network(reseller, env, serial):
    number = serial()
    claim(reseller, env, number)
    devices = reseller.partners().devices()

    def state(wanted):
        return devices.getSimLockState(
            partnerId=env["partner_id"], body={"deviceIdentifier": identifier(wanted)}
        )

    assert state(number).execute() == {"simLockState": "UNLOCKED"}
    refused(state(serial()), 404, "NOT_FOUND")


def test_operations_end_with_a_result_for_each_item_in_its_order(reseller, env, serial):
    devices = reseller.partners().devices()
    numbers = [serial() for _ in range(20)]
    claims = [claim_of(env, number) for number in numbers]
    claims[7]["sectionType"] = "SECTION_TYPE_SIM_LOCK"
    claims[11]["deviceIdentifier"] = {"imei": "123456789012340"}
    started = devices.claimAsync(partnerId=env["partner_id"], body={"claims": claims}).execute()
    assert started["metadata"]["devicesCount"] == 20
    operation = ended(reseller, started)
    assert operation["metadata"]["processingStatus"] == "BATCH_PROCESS_PROCESSED"
    assert operation["metadata"]["progress"] == 100
    assert "error" not in operation
    results = operation["response"]["perDeviceStatus"]
    assert operation["response"]["successCount"] == 18
    assert [one["claim"]["deviceIdentifier"] for one in results] == [one["deviceIdentifier"] for one in claims]
    assert results[7]["result"]["status"] == "SINGLE_DEVICE_STATUS_INVALID_SECTION_TYPE"
    assert results[11]["result"]["status"] == "SINGLE_DEVICE_STATUS_INVALID_DEVICE_IDENTIFIER"
    assert results[11]["result"]["errorIdentifier"] == "INVALID_IMEI"
    done = [one for at, one in enumerate(results) if at not in (7, 11)]
    assert {one["result"]["status"] for one in done} == {"SINGLE_DEVICE_STATUS_SUCCESS"}
    ids = [one["result"]["deviceId"] for one in done]
    assert partner_device(reseller, env, ids[0])["deviceIdentifier"]["serialNumber"] == numbers[0]

    updates = [{"deviceId": one, "deviceMetadata": {"entries": {"ordernumber": one}}} for one in ids]
    started = devices.updateMetadataAsync(partnerId=env["partner_id"], body={"updates": updates}).execute()
    operation = ended(reseller, started)
    assert operation["response"]["successCount"] == len(ids)
    assert operation["response"]["perDeviceStatus"][3]["updateMetadata"] == updates[3]
    assert partner_device(reseller, env, ids[3])["deviceMetadata"]["entries"] == {"ordernumber": ids[3]}

    unclaims = [{"deviceId": one, "sectionType": ZERO_TOUCH} for one in [*ids, "1"]]
    started = devices.unclaimAsync(partnerId=env["partner_id"], body={"unclaims": unclaims}).execute()
    operation = ended(reseller, started)
    assert operation["response"]["successCount"] == len(ids)
    last = operation["response"]["perDeviceStatus"][-1]
    assert last["unclaim"]["deviceId"] == "1"
    assert last["result"]["status"] != "SINGLE_DEVICE_STATUS_SUCCESS"
    name = f"partners/{env['partner_id']}/devices/{ids[0]}"
    refused(reseller.partners().devices().get(name=name), 404, "NOT_FOUND")


def test_customers_and_vendors_are_listed(reseller, env):
    customers = reseller.partners().customers()
    request = customers.list(partnerId=env["partner_id"], pageSize=1)
    listed = []
    while request is not None:
        answer = request.execute()
        listed.extend(answer["customers"])
        request = customers.list_next(request, answer)
    assert answer["totalSize"] == len(listed)
    [own] = [one for one in listed if one["companyId"] == env["customer_id"]]
    assert own["companyName"] == "Sandbox Customer"
    assert own["termsStatus"] == "TERMS_STATUS_ACCEPTED"

    parent = f"partners/{env['partner_id']}"
    answer = reseller.partners().vendors().list(parent=parent).execute()
    assert [(one["companyId"], one["companyName"]) for one in answer["vendors"]] == [
        (env["vendor_id"], "Sandbox Vendor")
    ]
    assert answer["totalSize"] == 1
    parent = f"{parent}/vendors/{env['vendor_id']}"
    answer = reseller.partners().vendors().customers().list(parent=parent).execute()
    assert [one["companyId"] for one in answer["customers"]] == [env["customer_id"]]


def test_a_customer_sees_whom_it_may_administer_and_its_catalogue(customer, emm, env):
    for client in (customer, emm):
        answer = client.customers().list(pageSize=100).execute()
        assert [one["companyId"] for one in answer["customers"]] == [env["customer_id"]]
        assert answer["customers"][0]["name"] == f"customers/{env['customer_id']}"
        dpcs = client.customers().dpcs().list(parent=f"customers/{env['customer_id']}").execute()["dpcs"]
        assert env["dpc"] in [one["name"] for one in dpcs]
        assert all(one["dpcName"] and one["packageName"] for one in dpcs)


def test_configurations_are_made_changed_by_mask_given_and_deleted(reseller, customer, env, serial):
    parent = f"customers/{env['customer_id']}"
    configurations = customer.customers().configurations()
    extras = '{"site": "zurich-1"}'
    created = configurations.create(
        parent=parent,
        body=configuration(env, "Kiosk", dpcExtras=extras, forcedResetTime="3600s", customMessage="Hello."),
    ).execute()
    name = created["name"]
    assert name == f"{parent}/configurations/{created['configurationId']}"
    assert json.loads(created["dpcExtras"]) == json.loads(extras)
    assert created["forcedResetTime"] == "3600s"
    assert configurations.get(name=name).execute() == created

    changed = configurations.patch(
        name=name,
        updateMask="configurationName,customMessage",
        body={"configurationName": "Kiosk 2", "contactEmail": "nobody@customer.example"},
    ).execute()
    assert changed["configurationName"] == "Kiosk 2"
    assert "customMessage" not in changed
    assert changed["contactEmail"] == "it@customer.example"
    assert changed["dpcExtras"] == created["dpcExtras"]
    listed = configurations.list(parent=parent).execute()["configurations"]
    assert changed in listed

    devices = customer.customers().devices()
    device_id = claim(reseller, env, serial())["deviceId"]
    applied = devices.applyConfiguration(
        parent=parent, body={"device": {"deviceId": device_id}, "configuration": name}
    )
    assert applied.execute() == {}
    device = devices.get(name=f"{parent}/devices/{device_id}").execute()
    assert device["configuration"] == name
    refused(configurations.delete(name=name), 400, "FAILED_PRECONDITION")
    removed = devices.removeConfiguration(parent=parent, body={"device": {"deviceId": device_id}})
    assert removed.execute() == {}
    assert devices.get(name=f"{parent}/devices/{device_id}").execute().get("configuration") != name
    assert configurations.delete(name=name).execute() == {}
    refused(configurations.get(name=name), 404, "NOT_FOUND")


def test_a_configuration_can_be_given_with_the_claim_and_one_is_the_default(reseller, customer, env, serial):
    parent = f"customers/{env['customer_id']}"
    configurations = customer.customers().configurations()
    made = [
        configurations.create(parent=parent, body=configuration(env, name, isDefault=default)).execute()
        for name, default in (("At claim", False), ("Default", True))
    ]
    given = claim(reseller, env, serial(), configurationId=made[0]["configurationId"])
    default = claim(reseller, env, serial())
    devices = customer.customers().devices()
    for claimed, expected in ((given, made[0]), (default, made[1])):
        device = devices.get(name=f"{parent}/devices/{claimed['deviceId']}").execute()
        assert device["configuration"] == expected["name"]
    configurations.patch(name=made[0]["name"], updateMask="isDefault", body={"isDefault": True}).execute()
    listed = configurations.list(parent=parent).execute()["configurations"]
    assert [one["name"] for one in listed if one.get("isDefault")] == [made[0]["name"]]


def test_a_customer_lists_its_devices_and_gives_one_up_for_good(reseller, customer, env, serial):
    parent = f"customers/{env['customer_id']}"
    number = serial()
    device_id = claim(reseller, env, number)["deviceId"]
    devices = customer.customers().devices()
    listed = set()
    request = devices.list(parent=parent, pageSize=3)
    while request is not None:
        answer = request.execute()
        listed.update(one["deviceId"] for one in answer["devices"])
        request = devices.list_next(request, answer)
    assert device_id in listed
    request = devices.unclaim(parent=parent, body={"device": {"deviceIdentifier": identifier(number)}})
    assert request.execute() == {}
    refused(devices.get(name=f"{parent}/devices/{device_id}"), 404, "NOT_FOUND")
    found = reseller.partners().devices().findByIdentifier(
        partnerId=env["partner_id"], body={"deviceIdentifier": identifier(number), "limit": 1}
    ).execute()
    assert "devices" not in found


def test_many_calls_travel_in_one_batch_and_each_has_its_own_end(reseller, env, serial):
    answers = {}

    def note(request_id, answer, error):
        answers[request_id] = error if error is not None else answer

    # The client's own address of batches stands in its discovery document, and no option changes it.
    batch = reseller.new_batch_http_request(callback=note)
    batch._batch_uri = f"{env['base_url']}/batch"
    assert isinstance(batch, BatchHttpRequest)
    devices = reseller.partners().devices()
    for at in range(3):
        body = claim_of(env, serial())
        batch.add(devices.claim(partnerId=env["partner_id"], body=body), request_id=f"claim {at}")
    batch.add(devices.get(name=f"partners/{env['partner_id']}/devices/1"), request_id="missing")
    batch.execute()
    assert set(answers) == {"claim 0", "claim 1", "claim 2", "missing"}
    assert len({answers[f"claim {at}"]["deviceId"] for at in range(3)}) == 3
    assert answers["missing"].status_code == 404


def test_errors_name_the_field_and_the_rule(reseller, customer, env, serial):
    devices = reseller.partners().devices()
    wrong = claim_of(env, serial())
    wrong["deviceIdentifier"] = {"serialNumber": "0", "manufacturer": "Acme"}
    error, details = refused(devices.claim(partnerId=env["partner_id"], body=wrong), 400, "INVALID_ARGUMENT")
    assert error.reason
    assert details["BadRequest"]["fieldViolations"][0]["field"].startswith("deviceIdentifier")
    assert details["BadRequest"]["fieldViolations"][0]["description"]

    parent = f"customers/{env['customer_id']}"
    body = configuration(env, "Broken", dpcExtras="{")
    request = customer.customers().configurations().create(parent=parent, body=body)
    _, details = refused(request, 400, "INVALID_ARGUMENT")
    assert [one["field"] for one in details["BadRequest"]["fieldViolations"]] == ["dpcExtras"]

    _, details = refused(customer.partners().customers().list(partnerId=env["partner_id"]), 403, "PERMISSION_DENIED")
    assert details["ErrorInfo"]["reason"] == "AUTHORIZATION_FAIL"


def test_a_bad_selection_of_fields_is_refused_before_anything_is_done(reseller, env, serial):
    number = serial()
    devices = reseller.partners().devices()
    request = devices.claim(partnerId=env["partner_id"], body=claim_of(env, number), fields="nothing")
    refused(request, 400, "INVALID_ARGUMENT")
    body = {"deviceIdentifier": identifier(number), "limit": 1}
    assert "devices" not in devices.findByIdentifier(partnerId=env["partner_id"], body=body).execute()
    request = devices.claim(partnerId=env["partner_id"], body=claim_of(env, number), fields="deviceId")
    assert list(request.execute()) == ["deviceId"]


def test_every_method_of_the_api_was_called():
    def methods(resource):
        for method in resource.get("methods", {}).values():
            yield method["id"]
        for below in resource.get("resources", {}).values():
            yield from methods(below)

    known = set(methods(json.loads(get_static_doc("androiddeviceprovisioning", "v1"))))
    assert len(known) >= 27
    assert known - called == set()

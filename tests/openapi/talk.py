"""Talks to a host through the client that was generated from its OpenAPI document.

    talk.py URL MODULE      with the folder of the generated package `windlass_client` on PYTHONPATH

MODULE is the sample module with RunningTotal. Prints the administrator's key that it created, or exits with a traceback at
the first surprise.
"""

import io
import json
import sys
from http import HTTPStatus

from windlass_client import AuthenticatedClient, Client
from windlass_client.api.administration import create_key, create_tenant
from windlass_client.api.host import alive
from windlass_client.api.instances import (
    get_instance,
    get_instance_logs,
    get_usage,
    list_instances,
    purge_instance,
    raise_event,
    terminate_instance,
)
from windlass_client.api.modules import get_module, put_module
from windlass_client.api.orchestrations import start_orchestration
from windlass_client.models import KeyRequest, NewTenant, Problem
from windlass_client.types import UNSET, File

# Ids may hold whatever JSON and URLs have to escape.
INSTANCE = 'a "b"%c:d=é&f+'


def check(response, status):
    """What an answer of that status brought."""
    assert response.status_code == status, (response.status_code, response.content)
    return response.parsed


def follow_an_instance(client):
    start = {"total": 1, "turnsPerExecution": 2}
    links = check(
        start_orchestration.sync_detailed("RunningTotal", client=client, body=start, instance_id=INSTANCE),
        HTTPStatus.ACCEPTED,
    )
    assert links.id == INSTANCE, links
    for payment in [5, 7, -3]:
        raised = raise_event.sync_detailed(INSTANCE, "payment", client=client, body=payment)
        check(raised, HTTPStatus.ACCEPTED)
    # `null` is a payload like any other.
    check(raise_event.sync_detailed(INSTANCE, "close", client=client, body=None), HTTPStatus.ACCEPTED)
    instance = check(
        get_instance.sync_detailed(INSTANCE, client=client, wait="30s", history=True),
        HTTPStatus.OK,
    )
    assert instance.runtime_status == "Completed", instance
    assert instance.output == {"total": 10, "payments": 3, "turnsPerExecution": 2}, instance.output
    assert len(instance.history) == instance.turns, instance
    # Without a history, none is made up.
    bare = check(get_instance.sync_detailed(INSTANCE, client=client), HTTPStatus.OK)
    assert bare.history is UNSET, bare
    listed = check(list_instances.sync_detailed(client=client, runtime_status="Completed", limit=10), HTTPStatus.OK)
    assert [found.instance_id for found in listed.instances] == [INSTANCE], listed
    assert check(get_instance_logs.sync_detailed(INSTANCE, client=client), HTTPStatus.OK).lines == []
    ended = check(terminate_instance.sync_detailed(INSTANCE, client=client), HTTPStatus.GONE)
    assert (ended.code, ended.status) == ("instance-ended", 410), ended
    check(purge_instance.sync_detailed(INSTANCE, client=client), HTTPStatus.OK)
    gone = check(get_instance.sync_detailed(INSTANCE, client=client), HTTPStatus.NOT_FOUND)
    assert isinstance(gone, Problem) and gone.code == "unknown-instance", gone


def main(url, module):
    client = Client(base_url=url, raise_on_unexpected_status=True)
    assert check(alive.sync_detailed(client=client), HTTPStatus.OK).status == "ok"
    with open(module, "rb") as file:
        upload = File(payload=io.BytesIO(file.read()))
    check(put_module.sync_detailed("patterns", client=client, body=upload), HTTPStatus.CREATED)
    functions = check(get_module.sync_detailed("patterns", client=client), HTTPStatus.OK).functions
    assert "RunningTotal" in [function.name for function in functions], functions
    follow_an_instance(client)

    # The same with keys, for another tenant.
    check(create_tenant.sync_detailed(client=client, body=NewTenant(name="acme")), HTTPStatus.CREATED)
    key = check(create_key.sync_detailed(client=client, body=KeyRequest(role="admin")), HTTPStatus.CREATED)
    refused = check(list_instances.sync_detailed(client=client), HTTPStatus.UNAUTHORIZED)
    assert refused.code == "unauthenticated", refused
    admin = AuthenticatedClient(base_url=url, token=key.key, raise_on_unexpected_status=True)
    usage = check(get_usage.sync_detailed(client=admin, windlass_tenant="acme"), HTTPStatus.OK)
    assert usage.total.count == 0, usage
    print(json.dumps({"key": key.key}))


main(*sys.argv[1:])

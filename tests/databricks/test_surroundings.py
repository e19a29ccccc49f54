"""Who asks, secrets, clusters and permissions through the real SDK."""

import base64

import pytest
from databricks.sdk.errors import NotFound
from databricks.sdk.service import iam


pytestmark = pytest.mark.filterwarnings("ignore")


def test_user_is_told(client):
    assert client.current_user.me().user_name == "somebody@example.org"


def test_secret_is_told_in_base64(workspace, client):
    workspace.around.secrets["llm"] = {"key": "s3cret"}
    told = client.secrets.get_secret("llm", "key")
    assert base64.b64decode(told.value) == b"s3cret"
    with pytest.raises(NotFound, match="Scope gone does not exist"):
        client.secrets.get_secret("gone", "key")
    with pytest.raises(NotFound, match="Secret other does not exist in scope llm"):
        client.secrets.get_secret("llm", "other")


def test_sdk_selects_a_runtime_and_a_node(client):
    select = client.clusters.select_spark_version
    assert select(long_term_support=True) == "16.4.x-scala2.12"
    assert select(long_term_support=True, scala="2.13") == "17.3.x-scala2.13"
    assert select(spark_version="3.5.0") == "15.4.x-scala2.12"
    assert select() == "17.1.x-scala2.12", "no beta"
    assert client.clusters.select_node_type(local_disk=True) == "m5d.large"
    assert client.clusters.select_node_type(min_cores=4) == "m5d.xlarge"


def test_permissions_of_a_job_are_set_and_added_to(client):
    def entry(name, level):
        return iam.AccessControlRequest(group_name=name, permission_level=level)

    first = entry("qa", iam.PermissionLevel.CAN_VIEW)
    more = entry("ops", iam.PermissionLevel.CAN_MANAGE)
    client.permissions.set("jobs", "7", access_control_list=[first])
    client.permissions.update("jobs", "7", access_control_list=[more])
    told = client.permissions.get("jobs", "7").access_control_list
    assert [entry.group_name for entry in told] == ["qa", "ops"]

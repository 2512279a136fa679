"""The rotation function of the template, step by step, with an emulated Secrets Manager and RDS."""

import json
import os

import boto3
import pytest

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
TOKEN = "11111111-2222-4333-8444-555555555555"


class Rds:
    """Applies a new password after a while, as RDS does. Emulators apply it at once."""

    def __init__(self):
        self.password, self.pending, self.calls = None, None, 0

    def modify_db_instance(self, DBInstanceIdentifier, MasterUserPassword, ApplyImmediately):
        assert (DBInstanceIdentifier, ApplyImmediately) == ("bday", True)
        self.pending, self.calls = MasterUserPassword, 0

    def describe_db_instances(self, DBInstanceIdentifier):
        self.calls += 1
        if self.calls == 2:
            self.password, self.pending = self.pending, None
        status = "available" if self.calls != 2 else "resetting-master-credentials"
        waiting = {"MasterUserPassword": "****"} if self.pending else {}
        return {"DBInstances": [{"DBInstanceStatus": status, "PendingModifiedValues": waiting}]}


@pytest.fixture
def function(template, ministack, monkeypatch):
    monkeypatch.setenv("DATABASE", "bday")
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack.endpoint)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    loaded = {}
    exec(template["Resources"]["RotationFunction"]["Properties"]["Code"]["ZipFile"], loaded)
    loaded["rds"] = Rds()
    return loaded


@pytest.fixture
def secret(ministack):
    manager = ministack.client("secretsmanager")
    made = manager.create_secret(
        Name=f"rotated-{os.urandom(4).hex()}", SecretString=json.dumps({"username": "bday", "password": "old", "host": "db"})
    )
    yield made["ARN"]
    manager.delete_secret(SecretId=made["ARN"], ForceDeleteWithoutRecovery=True)


def current(ministack, secret):
    return json.loads(ministack.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])


def run(function, secret, *steps):
    for step in steps:
        function["handler"]({"Step": step, "SecretId": secret, "ClientRequestToken": TOKEN}, None)


def test_a_rotation_sets_the_same_password_in_database_and_secret(function, ministack, secret):
    run(function, secret, *STEPS)
    after = current(ministack, secret)
    assert after["password"] == function["rds"].password != "old"
    assert len(after["password"]) == 32 and after["password"].isalnum()
    assert after | {"password": ""} == {"username": "bday", "password": "", "host": "db"}, "the rest of the secret changed"
    stages = ministack.client("secretsmanager").describe_secret(SecretId=secret)["VersionIdsToStages"]
    assert "AWSCURRENT" in stages[TOKEN] and any("AWSPREVIOUS" in names for names in stages.values())


def test_the_secret_is_not_current_before_the_database_has_it(function, ministack, secret):
    run(function, secret, *STEPS[:3])
    assert function["rds"].password is not None and function["rds"].pending is None
    assert current(ministack, secret)["password"] == "old"


def test_a_repeated_step_changes_nothing(function, ministack, secret):
    """Secrets Manager repeats a step that timed out."""
    run(function, secret, *[step for step in STEPS for _ in range(2)])
    assert current(ministack, secret)["password"] == function["rds"].password


def test_a_failed_change_keeps_the_old_password(function, ministack, secret):
    class Refused(Exception):
        pass

    def refuse(**_):
        raise Refused

    function["rds"].modify_db_instance = refuse
    with pytest.raises(Refused):
        run(function, secret, *STEPS)
    assert current(ministack, secret)["password"] == "old"


def test_real_request_shapes_are_accepted(function, ministack, secret, stack, monkeypatch):
    """Uses the RDS client of the SDK with the database of the stack."""
    monkeypatch.setenv("DATABASE", "shared")
    function["rds"] = boto3.client("rds")
    run(function, secret, *STEPS)
    assert current(ministack, secret)["password"] != "old"

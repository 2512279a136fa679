"""The rotation function, taken out of the template and run step by step against an emulated Secrets Manager and RDS."""

import json
import os

import boto3
import pytest

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
TOKEN = "11111111-2222-4333-8444-555555555555"


class Rds:
    """RDS as documented: a new password is pending for a while, then in force. Emulators apply it at once."""

    def __init__(self):
        self.password, self.pending, self.looks = None, None, 0

    def modify_db_instance(self, DBInstanceIdentifier, MasterUserPassword, ApplyImmediately):
        assert (DBInstanceIdentifier, ApplyImmediately) == ("bday", True)
        self.pending, self.looks = MasterUserPassword, 0

    def describe_db_instances(self, DBInstanceIdentifier):
        self.looks += 1
        if self.looks == 2:
            self.password, self.pending = self.pending, None
        status = "available" if self.looks != 2 else "resetting-master-credentials"
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


def test_the_database_and_the_secret_end_with_the_same_new_password(function, ministack, secret):
    run(function, secret, *STEPS)
    after = current(ministack, secret)
    assert after["password"] == function["rds"].password != "old"
    assert len(after["password"]) == 32 and after["password"].isalnum()
    assert after | {"password": ""} == {"username": "bday", "password": "", "host": "db"}, "everything else stays"
    stages = ministack.client("secretsmanager").describe_secret(SecretId=secret)["VersionIdsToStages"]
    assert "AWSCURRENT" in stages[TOKEN] and any("AWSPREVIOUS" in names for names in stages.values())


def test_the_secret_is_not_current_before_the_database_has_it(function, ministack, secret):
    run(function, secret, *STEPS[:3])
    assert function["rds"].password is not None and function["rds"].pending is None
    assert current(ministack, secret)["password"] == "old"


def test_a_step_that_is_repeated_changes_nothing(function, ministack, secret):
    """Secrets Manager repeats a step that timed out."""
    run(function, secret, *[step for step in STEPS for _ in range(2)])
    assert current(ministack, secret)["password"] == function["rds"].password


def test_a_database_that_refuses_leaves_the_old_password_in_force(function, ministack, secret):
    class Refused(Exception):
        pass

    def refuse(**_):
        raise Refused

    function["rds"].modify_db_instance = refuse
    with pytest.raises(Refused):
        run(function, secret, *STEPS)
    assert current(ministack, secret)["password"] == "old"


def test_real_request_shapes_are_accepted(function, ministack, secret, stack, monkeypatch):
    """The same, with the SDK's own RDS client against the stack's database."""
    monkeypatch.setenv("DATABASE", "looked-at")
    function["rds"] = boto3.client("rds")
    run(function, secret, *STEPS)
    assert current(ministack, secret)["password"] != "old"

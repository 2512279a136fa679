"""The template, and the two emulators that it is deployed to.

Neither emulator supports everything. ministack rejects EIP, NatGateway, RotationSchedule and ApplicationAutoScaling, so it gets
`Egress=endpoints`, `RotationDays=0` and one worker. moto supports the default network, but silently ignores secrets, alarms, metric
filters, subscriptions, queue policies, rotation, scaling and service discovery.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import boto3
import cfn_flip
import pytest

AWS = pathlib.Path(__file__).parents[1]
TEMPLATE = AWS / "bday.yaml"
CHANNELS = AWS / "channels.yaml"
REGION = "eu-central-1"
GIVEN = {
    "ImageUri": "ghcr.io/example/bday:1.2.3",
    "WebhookUrl": "https://receiver.example/first",
    "AlarmEmail": "oncall@example.com",
}
FOR_MINISTACK = GIVEN | {"Egress": "endpoints", "RotationDays": "0"}

# The tests must never reach a real account.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def emulator(command, port, **environment):
    """Runs an emulator on a loopback port."""
    log = pathlib.Path(os.environ.get("AWS_TEST_LOGS", "/tmp")) / f"bday-aws-test-{port}.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        log.unlink(missing_ok=True)


class Account:
    """An emulated AWS account, with stacks of the template."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.deployed_at = 0

    def client(self, service):
        return boto3.client(service, endpoint_url=self.endpoint)

    def aws(self, *arguments):
        """Runs the AWS CLI."""
        return subprocess.run(
            ["aws", "--endpoint-url", self.endpoint, *arguments], check=True, capture_output=True, text=True
        ).stdout

    def deploy(self, name, parameters, template=TEMPLATE):
        """Creates or updates the stack with the command of the README."""
        overrides = [f"{key}={value}" for key, value in parameters.items()]
        # The AWS CLI names a change set after the second in which it creates it.
        while int(time.time()) == self.deployed_at:
            time.sleep(0.05)
        try:
            self.aws(
                "cloudformation", "deploy", "--stack-name", name, "--template-file", str(template),
                "--capabilities", "CAPABILITY_IAM", "--no-fail-on-empty-changeset", "--parameter-overrides", *overrides,
            )  # fmt: skip
        except subprocess.CalledProcessError as failure:
            raise AssertionError(f"{failure.stderr}\n{self.failures(name)}") from failure
        self.deployed_at = int(time.time())
        return self.outputs(name)

    def failures(self, name):
        events = self.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        return [(e["LogicalResourceId"], e["ResourceStatusReason"]) for e in events if e.get("ResourceStatusReason")]

    def outputs(self, name):
        (stack,) = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), stack
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def resources(self, name):
        """Returns (type, physical id) by logical id."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
        found = [resource for page in pages for resource in page["StackResourceSummaries"]]
        return {r["LogicalResourceId"]: (r["ResourceType"], r["PhysicalResourceId"]) for r in found}

    def delete(self, name):
        cloudformation = self.client("cloudformation")
        cloudformation.delete_stack(StackName=name)
        deadline = time.monotonic() + 60
        while True:
            stacks = cloudformation.list_stacks()["StackSummaries"]
            states = {stack["StackStatus"] for stack in stacks if stack["StackName"] == name} - {"DELETE_COMPLETE"}
            if not states:
                return
            assert "DELETE_FAILED" not in states and time.monotonic() < deadline, states
            time.sleep(0.1)


@pytest.fixture(scope="session")
def template():
    return json.loads(cfn_flip.to_json(TEMPLATE.read_text()))


@pytest.fixture(scope="session")
def ministack():
    port = free_port()
    # Without a container engine, its databases and tasks are records only, which is enough here.
    with emulator(
        ["ministack"], port, GATEWAY_PORT=str(port), BIND_HOST="127.0.0.1", MINISTACK_REGION=REGION, DOCKER_HOST="unix:///nonexistent"
    ) as endpoint:
        yield Account(endpoint)


@pytest.fixture(scope="session")
def moto():
    port = free_port()
    with emulator([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as endpoint:
        yield Account(endpoint)


@pytest.fixture(scope="session")
def stack(ministack):
    """The default layout on ministack, shared by tests that only read."""
    return ministack.deploy("shared", FOR_MINISTACK | {"Prefix": "shared"})

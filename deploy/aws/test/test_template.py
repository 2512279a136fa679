"""Static checks of the template."""

import subprocess

import pytest
from conftest import AWS, CHANNELS, TEMPLATE

TASK_ROLES = ("TaskRole", "SchedulerRole", "WorkerRole")
QUEUE, LETTERS = "Queue.Arn", "DeadLetterQueue.Arn"


def as_list(value):
    return value if isinstance(value, list) else [value]


def statements(template, role):
    """Returns the statements of a role, inline and from managed policies of the template."""
    resources = template["Resources"]
    properties = resources[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    for attached in properties.get("ManagedPolicyArns", []):
        assert set(attached) == {"Ref"}, f"{role} has a policy from outside this template: {attached}"
        documents.append(resources[attached["Ref"]]["Properties"]["PolicyDocument"])
    return [statement for document in documents for statement in document["Statement"]]


def granted(template, role):
    """Returns the permitted actions by resource."""
    grants = {}
    for statement in statements(template, role):
        assert statement["Effect"] == "Allow"
        for resource in as_list(statement["Resource"]):
            # The first branch grants more.
            resource = resource["Fn::If"][1] if "Fn::If" in resource else resource
            name = next(iter(resource.values())) if isinstance(resource, dict) else resource
            name = ".".join(name) if isinstance(name, list) else name
            grants.setdefault(name, set()).update(as_list(statement["Action"]))
    return grants


def test_cfn_lint_finds_nothing():
    result = subprocess.run(["cfn-lint", "--include-checks", "I", "--", str(TEMPLATE), str(CHANNELS)], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_shellcheck_finds_nothing():
    scripts = [str(AWS / "run"), str(AWS / "test" / "run")]
    result = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_template_can_be_deployed_without_a_bucket():
    """CloudFormation accepts up to 51,200 bytes in the request."""
    assert max(len(template.read_bytes()) for template in (TEMPLATE, CHANNELS)) <= 51_200


@pytest.mark.parametrize("role", [*TASK_ROLES, "RotationRole"])
def test_no_role_has_a_wildcard(template, role):
    for statement in statements(template, role):
        assert "*" not in repr(statement), statement


def test_the_task_roles_have_exactly_these_permissions(template):
    secrets = {name: {"secretsmanager:GetSecretValue"} for name in ("DatabaseSecret", "TwilioSecret")}
    posts = {
        "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter${WebhookParameter}": {"ssm:GetParameter"},
        "WebhookSecret": {"secretsmanager:GetSecretValue"},
        "SlackSecret": {"secretsmanager:GetSecretValue"},
    }
    read = {"sqs:GetQueueAttributes"}
    send, receive = {"sqs:SendMessage"}, {"sqs:ReceiveMessage", "sqs:DeleteMessage"}
    assert granted(template, "SchedulerRole") == secrets | {QUEUE: read | send, LETTERS: read | send | receive}
    assert granted(template, "WorkerRole") == secrets | posts | {QUEUE: read | receive, LETTERS: read | send}
    assert granted(template, "TaskRole") == secrets | posts | {QUEUE: read | send | receive, LETTERS: read | send | receive}


def test_only_the_registry_login_is_allowed_with_a_wildcard(template):
    found = []
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for document in documents:
            found += [(name, s["Action"]) for s in document["Statement"] if s["Effect"] == "Allow" and "*" in repr(s)]
    assert found == [("ImagePolicy", "ecr:GetAuthorizationToken")]


def test_the_four_tasks_differ_in_role_listener_and_settings_of_the_channels_only(template):
    callbacks = {"BDAY__HTTP__PUBLIC_URL", "BDAY__CHANNELS__WHATSAPP__URL"}
    keys = {"MAIL": ("URL", "CONFIGURATION_SET", "FEEDBACK_QUEUE_URL"), "SMS": ("URL", "FROM"), "SLACK": ("URL", "CHANNEL"), "WHATSAPP": ("FROM",)}
    posting = {f"BDAY__CHANNELS__{channel}__{key}" for channel, names in keys.items() for key in names}
    posting |= {f"BDAY__WEBHOOK__{key}" for key in ("URL", "ALLOW_HTTP", "SECRETS")} | callbacks

    def rest(name):
        task = template["Resources"][name]["Properties"]
        (container,) = task["ContainerDefinitions"]
        options = container["LogConfiguration"]["Options"]
        environment = [entry for entry in container["Environment"] if entry["Name"] not in {"BDAY__HTTP__LISTEN"} | posting]
        shared = {key: value for key, value in container.items() if key not in ("Command", "PortMappings")}
        logs = {"LogDriver": "awslogs", "Options": options | {"awslogs-stream-prefix": ""}}
        return (
            {key: value for key, value in task.items() if key not in ("Family", "TaskRoleArn", "ContainerDefinitions")},
            shared | {"Environment": environment, "LogConfiguration": logs},
        )

    def own(name):
        task = template["Resources"][name]["Properties"]
        (container,) = task["ContainerDefinitions"]
        *start, role = container["Command"]
        assert start == ["serve", "--role"]
        assert container["LogConfiguration"]["Options"]["awslogs-stream-prefix"] == role
        listen = [entry["Value"] for entry in container["Environment"] if entry["Name"] == "BDAY__HTTP__LISTEN"]
        return role, task["TaskRoleArn"]["Fn::GetAtt"][0], listen, posting & {entry["Name"] for entry in container["Environment"]}

    names = ("Task", "SchedulerTask", "WorkerTask", "ApiTask")
    assert all(rest(name) == rest("Task") for name in names)
    assert [own(name) for name in names] == [
        ("all", "TaskRole", ["0.0.0.0:8080"], posting),
        ("scheduler", "SchedulerRole", [], set()),
        ("worker", "WorkerRole", [], posting),
        ("api", "SchedulerRole", ["0.0.0.0:8080"], callbacks),
    ]


def test_a_task_gets_a_reference_to_the_password(template):
    for name in ("Task", "SchedulerTask", "WorkerTask", "ApiTask"):
        (container,) = template["Resources"][name]["Properties"]["ContainerDefinitions"]
        assert "resolve:" not in repr(container)
        assert not [entry for entry in container["Environment"] if "PASSWORD" in entry["Name"]]


def test_every_parameter_has_a_description_and_a_constraint(template):
    for name, parameter in template["Parameters"].items():
        assert parameter.get("Description"), name
        if parameter["Type"] == "String":
            assert "AllowedPattern" in parameter or "AllowedValues" in parameter, name
        else:
            assert "MinValue" in parameter or "AllowedValues" in parameter, name


def test_every_parameter_is_in_the_readme(template):
    readme = (AWS / "README.md").read_text()
    assert [name for name in template["Parameters"] if f"| `{name}` |" not in readme] == []

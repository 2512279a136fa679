"""The template of mail and SMS, deployed beside that of the daemon."""

import json
import re

import cfn_flip
import pytest
from cloudwatch import Metrics
from conftest import AWS, CHANNELS, FOR_MINISTACK, REGION

DOMAIN = "example.com"
NOW = 7200
TWILIO = f"arn:aws:secretsmanager:{REGION}:000000000000:secret:twilio-url-AbCdEf"
SLACK = f"arn:aws:secretsmanager:{REGION}:000000000000:secret:slack-url-AbCdEf"


@pytest.fixture(scope="session")
def channels():
    return json.loads(cfn_flip.to_json(CHANNELS.read_text()))


@pytest.fixture(scope="session")
def mail(ministack, stack):
    return ministack.deploy("shared-channels", {"Prefix": "shared", "MailDomain": DOMAIN, "Sms": "aws:"}, CHANNELS)


def policy(channels, name):
    properties = channels["Resources"][name]["Properties"]
    roles = [role["Fn::ImportValue"]["Fn::Sub"] for role in properties["Roles"]]
    assert roles == ["${Prefix}-task-role", "${Prefix}-worker-role"]
    return [
        (set(action if isinstance(action := s["Action"], list) else [action]), s.get("Resource"), s.get("NotResource"))
        for s in properties["PolicyDocument"]["Statement"]
    ]


def test_the_tasks_get_exactly_these_permissions(channels):
    ses = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:"
    sender = [{"Fn::Sub": ses + "identity/${MailDomain}"}, {"Fn::Sub": ses + "configuration-set/${Prefix}"}]
    queue = {"Fn::GetAtt": ["FeedbackQueue", "Arn"]}
    numbers = {"Fn::Sub": "arn:${AWS::Partition}:sms-voice:${AWS::Region}:${AWS::AccountId}:*"}
    topics = {"Fn::Sub": "arn:${AWS::Partition}:sns:*:*:*"}
    assert policy(channels, "MailPolicy") == [
        ({"ses:SendEmail", "ses:GetEmailIdentity"}, sender, None),
        ({"sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteMessage"}, queue, None),
    ]
    assert policy(channels, "AwsSmsPolicy") == [({"sms-voice:SendTextMessage"}, numbers, None)]
    assert policy(channels, "SnsSmsPolicy") == [({"sns:Publish"}, None, topics)]
    policies = {name for name, resource in channels["Resources"].items() if resource["Type"] == "AWS::IAM::ManagedPolicy"}
    conditions = {name: channels["Resources"][name]["Condition"] for name in policies}
    assert conditions == {"MailPolicy": "Mails", "AwsSmsPolicy": "SmsByAws", "SnsSmsPolicy": "SmsBySns"}


def test_the_daemon_reads_the_queue_and_uses_the_configuration_set_of_this_template(channels, template):
    for name in ("Task", "WorkerTask"):
        (container,) = template["Resources"][name]["Properties"]["ContainerDefinitions"]
        environment = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
        assert environment["BDAY__CHANNELS__MAIL__FEEDBACK_QUEUE_URL"] == {"Fn::If": ["Mails", {"Fn::Sub": "${Queue}-feedback"}, ""]}
        assert environment["BDAY__CHANNELS__MAIL__CONFIGURATION_SET"] == {"Ref": "Prefix"}
        assert environment["BDAY__KINDS__BIRTHDAY__CHANNELS"] == {"Ref": "Channels"}
    assert channels["Resources"]["FeedbackQueue"]["Properties"]["QueueName"] == {"Fn::Sub": "${Prefix}-messages-feedback"}
    assert channels["Resources"]["ConfigurationSet"]["Properties"]["Name"] == {"Ref": "Prefix"}
    assert template["Resources"]["Queue"]["Properties"]["QueueName"] == {"Fn::Sub": "${Prefix}-messages"}
    assert template["Parameters"]["Channels"]["Default"] == "webhook"


class Roles:
    """A stack with a role for each task, updated by each case."""

    def __init__(self, account):
        self.account = account

    def deploy(self, **parameters):
        # CloudFormation keeps the values of parameters that are not given.
        unset = dict.fromkeys(["Sms", "SmsFrom", "WhatsappFrom", "TwilioSecret", "SlackSecret", "SlackChannel", "PublicUrl"], "") | {"Sms": "aws:"}
        given = {"Prefix": "channels", "Layout": "roles", "MaxWorkers": "1", "DatabaseDeletionProtection": "false"}
        self.account.deploy("channels", FOR_MINISTACK | given | unset | parameters)

    def environment(self, role):
        task = self.account.client("ecs").describe_task_definition(taskDefinition=f"channels-{role}")["taskDefinition"]
        environment = {entry["name"]: entry["value"] for entry in task["containerDefinitions"][0]["environment"]}
        prefix = "BDAY__CHANNELS__"
        return {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix) or "PUBLIC" in name}

    def secrets(self, role):
        """Returns the secrets that a role may read, without that of the database."""
        iam = self.account.client("iam")
        name = self.account.resources("channels")[f"{role}Role"][1]
        found = set()
        for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            policy = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]
            document = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])["PolicyVersion"]["Document"]
            document = json.loads(document) if isinstance(document, str) else document
            found |= {arn for s in document["Statement"] if s["Sid"] == "Secrets" for arn in s["Resource"]}
        return {arn for arn in found if "channels/db-credentials" not in arn}


@pytest.fixture(scope="module")
def roles(ministack):
    yield Roles(ministack)
    ministack.delete("channels")


SENDERS = ("Worker", "Task")


def test_without_parameters_the_tasks_have_no_url_and_no_secret(roles):
    roles.deploy()
    worker = roles.environment("worker")
    assert worker["SLACK__URL"] == worker["WHATSAPP__URL"] == worker["SMS__FROM"] == worker["BDAY__HTTP__PUBLIC_URL"] == ""
    assert worker["SMS__URL"] == "aws:"
    assert {role: roles.secrets(role) for role in (*SENDERS, "Scheduler")} == {"Worker": set(), "Task": set(), "Scheduler": set()}


def test_a_task_that_sends_reads_the_secret_of_slack(roles):
    roles.deploy(Channels="slack,webhook", SlackSecret=SLACK, SlackChannel="C0123456789")
    worker = roles.environment("worker")
    assert (worker["SLACK__URL"], worker["SLACK__CHANNEL"]) == (f"secretsmanager:{SLACK}", "C0123456789")
    assert {role: roles.secrets(role) for role in (*SENDERS, "Scheduler")} == {"Worker": {SLACK}, "Task": {SLACK}, "Scheduler": set()}


def test_sms_and_whatsapp_by_twilio_share_a_secret(roles):
    roles.deploy(Channels="whatsapp,sms", Sms="twilio:", SmsFrom="Example", WhatsappFrom="+15005550006", TwilioSecret=TWILIO)
    worker = roles.environment("worker")
    assert worker["SMS__URL"] == worker["WHATSAPP__URL"] == f"secretsmanager:{TWILIO}"
    assert (worker["SMS__FROM"], worker["WHATSAPP__FROM"]) == ("Example", "+15005550006")
    assert {role: roles.secrets(role) for role in (*SENDERS, "Scheduler")} == {"Worker": {TWILIO}, "Task": {TWILIO}, "Scheduler": set()}


def test_the_api_reads_the_token_that_signs_callbacks_if_they_can_arrive(roles):
    roles.deploy(Channels="sms", Sms="sns:", TwilioSecret=TWILIO, SlackSecret=SLACK, PublicUrl="https://bday.example.org")
    api = roles.environment("api")
    assert (api["WHATSAPP__URL"], api["BDAY__HTTP__PUBLIC_URL"]) == (f"secretsmanager:{TWILIO}", "https://bday.example.org")
    assert roles.environment("worker")["SMS__URL"] == "sns:"
    assert roles.environment("worker")["BDAY__HTTP__PUBLIC_URL"] == "https://bday.example.org"
    assert "BDAY__HTTP__PUBLIC_URL" not in roles.environment("scheduler")
    assert roles.secrets("Scheduler") == {TWILIO}


def test_the_imported_names_are_exported(channels, template):
    exported = {output["Export"]["Name"]["Fn::Sub"] for output in template["Outputs"].values() if "Export" in output}
    imported = set(re.findall(r'"Fn::ImportValue": \{"Fn::Sub": "([^"]+)"', json.dumps(channels)))
    assert imported == exported == {"${Prefix}-task-role", "${Prefix}-worker-role", "${Prefix}-alarms"}


def test_feedback_of_ses_reaches_the_queue(ministack, stack, mail):
    assert mail["FeedbackQueueUrl"] == stack["QueueUrl"] + "-feedback"
    sns, sqs = ministack.client("sns"), ministack.client("sqs")
    (topic,) = [t["TopicArn"] for t in sns.list_topics()["Topics"] if t["TopicArn"].endswith(":shared-feedback")]
    event = json.dumps({"eventType": "Send", "mail": {}, "send": {}})
    sns.publish(TopicArn=topic, Message=event)
    (message,) = sqs.receive_message(QueueUrl=mail["FeedbackQueueUrl"], WaitTimeSeconds=5)["Messages"]
    envelope = json.loads(message["Body"])
    assert (envelope["Type"], envelope["Message"]) == ("Notification", event)
    sqs.delete_message(QueueUrl=mail["FeedbackQueueUrl"], ReceiptHandle=message["ReceiptHandle"])


def test_feedback_that_cannot_be_read_raises_the_alarm(ministack, mail):
    sqs, url = ministack.client("sqs"), mail["FeedbackQueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="nonsense")
    for _ in range(10):
        (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2)["Messages"]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0)
    (dead,) = sqs.receive_message(QueueUrl=url + "-dlq", WaitTimeSeconds=2)["Messages"]
    assert dead["Body"] == "nonsense"
    sqs.delete_message(QueueUrl=url + "-dlq", ReceiptHandle=dead["ReceiptHandle"])

    (alarm,) = ministack.client("cloudwatch").describe_alarms(AlarmNames=["shared-unreadable-feedback"])["MetricAlarms"]
    for queue, count, state in [("-dlq", 1, "ALARM"), ("-dlq", 0, "OK"), ("", 1, "OK")]:
        store = Metrics([])
        store.put(NOW - 30, "AWS/SQS", "ApproximateNumberOfMessagesVisible", count, QueueName="shared-messages-feedback" + queue)
        assert store.state(alarm, NOW) == state, (queue, count)


def test_only_the_topic_may_send_to_the_queue_and_only_ses_to_the_topic(channels):
    queue, tls = channels["Resources"]["FeedbackQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (queue["Principal"], queue["Action"]) == ({"Service": "sns.amazonaws.com"}, "sqs:SendMessage")
    assert queue["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Ref": "FeedbackTopic"}}}
    assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    (topic,) = channels["Resources"]["FeedbackTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (topic["Principal"], topic["Action"]) == ({"Service": "ses.amazonaws.com"}, "sns:Publish")
    assert topic["Condition"]["StringEquals"] == {"AWS:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_ses_publishes_every_event_that_the_daemon_reads(channels):
    destination = channels["Resources"]["EventDestination"]["Properties"]["EventDestination"]
    assert destination["Enabled"] is True
    assert set(destination["MatchingEventTypes"]) == {"bounce", "complaint", "delivery", "deliveryDelay", "reject"}


@pytest.mark.parametrize(
    ("alarm", "metric", "value", "state"),
    [
        ("BounceRateAlarm", "Reputation.BounceRate", 0.0501, "ALARM"),
        ("BounceRateAlarm", "Reputation.BounceRate", 0.05, "OK"),
        ("ComplaintRateAlarm", "Reputation.ComplaintRate", 0.0011, "ALARM"),
        ("ComplaintRateAlarm", "Reputation.ComplaintRate", 0.001, "OK"),
    ],
)
def test_alarm(channels, alarm, metric, value, state):
    properties = channels["Resources"][alarm]["Properties"]
    store = Metrics([])
    store.put(NOW - 600, "AWS/SES", metric, value)
    assert store.state(properties, NOW) == state


def test_every_alarm_has_its_entry_in_the_runbook_and_sends_mail(channels):
    headings = re.findall(r"^## (\S+)$", (AWS.parents[1] / "docs/runbook.md").read_text(), re.M)
    alarms = [r["Properties"] for r in channels["Resources"].values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == 3
    for alarm in alarms:
        slug = alarm["AlarmName"]["Fn::Sub"].removeprefix("${Prefix}-")
        assert slug in headings and alarm["AlarmDescription"].endswith(f"docs/runbook.md#{slug}")
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Fn::ImportValue": {"Fn::Sub": "${Prefix}-alarms"}}]


def test_every_parameter_is_described_limited_and_in_the_readme(channels):
    readme = (AWS / "README.md").read_text()
    for name, parameter in channels["Parameters"].items():
        assert parameter["Description"] and ("AllowedPattern" in parameter or "AllowedValues" in parameter), name
        assert f"| `{name}` |" in readme, name

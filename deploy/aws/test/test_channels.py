"""The template of mail and SMS, deployed beside that of the daemon."""

import json
import re

import cfn_flip
import pytest
from cloudwatch import Metrics
from conftest import AWS, CHANNELS

DOMAIN = "example.com"
NOW = 7200


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
    assert len(alarms) == 2
    for alarm in alarms:
        slug = alarm["AlarmName"]["Fn::Sub"].removeprefix("${Prefix}-")
        assert slug in headings and alarm["AlarmDescription"].endswith(f"docs/runbook.md#{slug}")
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Fn::ImportValue": {"Fn::Sub": "${Prefix}-alarms"}}]


def test_every_parameter_is_described_limited_and_in_the_readme(channels):
    readme = (AWS / "README.md").read_text()
    for name, parameter in channels["Parameters"].items():
        assert parameter["Description"] and ("AllowedPattern" in parameter or "AllowedValues" in parameter), name
        assert f"| `{name}` |" in readme, name

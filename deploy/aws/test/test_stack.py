"""Creation, update and deletion of the stack, and its resources."""

import json
import re

import pytest
from conftest import FOR_MINISTACK, GIVEN, REGION, TEMPLATE
import cfn_flip


def queue_attributes(account, url):
    return account.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def test_the_stack_is_created_updated_and_deleted(ministack):
    ministack.deploy("bday", FOR_MINISTACK)
    ssm, alarms = ministack.client("ssm"), ministack.client("cloudwatch")
    # An operator changes the URL between two deployments.
    ssm.put_parameter(Name="/bday/webhook-url", Value="https://receiver.example/second", Type="String", Overwrite=True)

    ministack.deploy("bday", FOR_MINISTACK | {"LatenessLimitMs": "60000", "DatabaseDeletionProtection": "false"})

    (late,) = alarms.describe_alarms(AlarmNames=["bday-lateness-p99"])["MetricAlarms"]
    assert late["Threshold"] == 60000
    value = ssm.get_parameter(Name="/bday/webhook-url")["Parameter"]["Value"]
    assert value == "https://receiver.example/second", "the update overwrote the URL of the operator"

    ministack.delete("bday")
    assert not alarms.describe_alarms(AlarmNamePrefix="bday-")["MetricAlarms"]
    assert not ministack.client("sqs").list_queues(QueueNamePrefix="bday-").get("QueueUrls")
    databases = ministack.client("rds").describe_db_instances()["DBInstances"]
    assert "bday" not in [database["DBInstanceIdentifier"] for database in databases]
    snapshots = ministack.client("rds").describe_db_snapshots()["DBSnapshots"]
    assert any(snapshot["DBInstanceIdentifier"] == "bday" for snapshot in snapshots), "the deletion left no snapshot"


def test_the_layout_roles_creates_three_services(ministack):
    ministack.deploy("apart", FOR_MINISTACK | {"Prefix": "apart", "Layout": "roles", "Tasks": "2", "MaxWorkers": "1"})
    ecs = ministack.client("ecs")
    services = ecs.describe_services(cluster="apart", services=["apart-scheduler", "apart-worker", "apart-api"])["services"]
    desired = {service["serviceName"]: service["desiredCount"] for service in services}
    assert desired == {"apart-scheduler": 2, "apart-worker": 1, "apart-api": 2}
    ministack.deploy("apart", FOR_MINISTACK | {"Prefix": "apart", "Layout": "all", "DatabaseDeletionProtection": "false"})
    (service,) = ecs.describe_services(cluster="apart", services=["apart"])["services"]
    assert service["status"] == "ACTIVE"
    ministack.delete("apart")


def test_the_queue_has_the_settings_of_the_seed(ministack, stack):
    queue = queue_attributes(ministack, stack["QueueUrl"])
    letters = queue_attributes(ministack, stack["DeadLetterQueueUrl"])
    assert stack["QueueUrl"].endswith("/shared-messages")
    assert queue.get("FifoQueue", "false") == "false"
    assert queue["VisibilityTimeout"] == "30"
    assert queue["MessageRetentionPeriod"] == letters["MessageRetentionPeriod"] == str(14 * 24 * 3600)
    redrive = json.loads(queue["RedrivePolicy"])
    assert (redrive["deadLetterTargetArn"], int(redrive["maxReceiveCount"])) == (letters["QueueArn"], 5)
    # The default of queue.sqs.dead_letter_url.
    assert stack["DeadLetterQueueUrl"] == stack["QueueUrl"] + "-dlq"


def test_the_queues_refuse_plain_http(ministack, stack):
    for url in (stack["QueueUrl"], stack["DeadLetterQueueUrl"]):
        (statement,) = json.loads(queue_attributes(ministack, url)["Policy"])["Statement"]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "sqs:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert queue_attributes(ministack, url)["QueueArn"] in statement["Resource"]


def test_a_message_received_five_times_becomes_a_dead_letter(ministack, stack):
    sqs = ministack.client("sqs")
    sqs.send_message(QueueUrl=stack["QueueUrl"], MessageBody="{}")
    for _ in range(5):
        (message,) = sqs.receive_message(QueueUrl=stack["QueueUrl"], WaitTimeSeconds=2)["Messages"]
        sqs.change_message_visibility(QueueUrl=stack["QueueUrl"], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert "Messages" not in sqs.receive_message(QueueUrl=stack["QueueUrl"], WaitTimeSeconds=0)
    (dead,) = sqs.receive_message(QueueUrl=stack["DeadLetterQueueUrl"], WaitTimeSeconds=2)["Messages"]
    assert dead["MessageId"] == message["MessageId"]
    sqs.delete_message(QueueUrl=stack["DeadLetterQueueUrl"], ReceiptHandle=dead["ReceiptHandle"])


def test_the_webhook_url_is_in_parameter_store(ministack, stack):
    parameter = ministack.client("ssm").get_parameter(Name="/shared/webhook-url")["Parameter"]
    assert (parameter["Type"], parameter["Value"]) == ("String", GIVEN["WebhookUrl"])
    assert stack["WebhookParameterName"] == "/shared/webhook-url"


def test_the_database_uses_the_password_in_secrets_manager(ministack, stack, template):
    value = ministack.client("secretsmanager").get_secret_value(SecretId="shared/db-credentials")
    secret = json.loads(value["SecretString"])
    assert secret["username"] == "bday" and len(secret["password"]) == 32
    assert secret["host"] == stack["DatabaseHost"] and secret["dbname"] == "bday"
    database = template["Resources"]["Database"]["Properties"]
    assert database["MasterUserPassword"] == {"Fn::Sub": "{{resolve:secretsmanager:${DatabaseSecret}:SecretString:password}}"}


def test_the_database_has_the_settings_of_the_seed(ministack, stack):
    (database,) = ministack.client("rds").describe_db_instances(DBInstanceIdentifier="shared")["DBInstances"]
    expected = {
        "Engine": "postgres", "DBInstanceClass": "db.t3.micro", "AllocatedStorage": 20, "StorageEncrypted": True,
        "PubliclyAccessible": False, "BackupRetentionPeriod": 7, "DeletionProtection": True, "DBName": "bday",
    }  # fmt: skip
    assert {key: database[key] for key in expected} == expected


def test_logs_are_kept_for_seven_days(ministack, stack):
    (group,) = ministack.client("logs").describe_log_groups(logGroupNamePrefix=stack["LogGroup"])["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == ("/ecs/shared", 7)


def test_alarms_are_mailed(ministack, stack):
    subscriptions = ministack.client("sns").list_subscriptions_by_topic(TopicArn=stack["AlarmTopicArn"])["Subscriptions"]
    assert [(s["Protocol"], s["Endpoint"]) for s in subscriptions] == [("email", GIVEN["AlarmEmail"])]


def test_the_task_environment_names_every_resource(ministack, stack):
    task = ministack.client("ecs").describe_task_definition(taskDefinition=stack["TaskDefinitionArn"])["taskDefinition"]
    (container,) = task["containerDefinitions"]
    environment = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert environment["BDAY__QUEUE__SQS__URL"] == stack["QueueUrl"]
    assert environment["BDAY__WEBHOOK__URL"] == "ssm:/shared/webhook-url"
    assert (environment["BDAY__WEBHOOK__ALLOW_HTTP"], environment["BDAY__WEBHOOK__SECRETS"]) == ("false", "")
    assert environment["BDAY__DATABASE__CREDENTIALS"] == f"secretsmanager:{stack['DatabaseSecretArn']}"
    assert environment["BDAY__DATABASE__HOST"] == stack["DatabaseHost"]
    assert environment["BDAY__DATABASE__TLS"] == "verify-full"
    assert container["readonlyRootFilesystem"] is True
    assert container["command"] == ["serve", "--role", "all"]


def test_private_subnets_have_no_route_out_without_the_nat_gateway(ministack, stack):
    ec2 = ministack.client("ec2")
    resources = ministack.resources("shared")
    (table,) = ec2.describe_route_tables(RouteTableIds=[resources["PrivateRoutes"][1]])["RouteTables"]
    assert {association["SubnetId"] for association in table["Associations"]} == set(stack["TaskSubnets"].split(","))
    assert not [route for route in table["Routes"] if route.get("DestinationCidrBlock") == "0.0.0.0/0"]
    found = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [resources["Vpc"][1]]}])["VpcEndpoints"]
    services = {endpoint["ServiceName"].removeprefix(f"com.amazonaws.{REGION}.") for endpoint in found}
    assert services == {"s3", "sqs", "ssm", "secretsmanager", "logs", "ecr.api", "ecr.dkr"}


@pytest.mark.parametrize("layout", ["all", "roles"])
def test_the_default_network_is_created_updated_and_deleted(moto, layout):
    """Includes NAT gateway, rotation and scaling, which ministack does not support."""
    cloudformation, ec2 = moto.client("cloudformation"), moto.client("ec2")
    name = f"net-{layout}"
    given = GIVEN | {"Prefix": name, "Layout": layout}
    # moto creates no secrets from templates, so the policies get an ARN.
    secret = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:{name}/db-credentials-AbCdEf"
    request = {
        "StackName": name,
        "TemplateBody": cfn_flip.to_json(re.sub(r"!Ref DatabaseSecret(?=\}?\n)", secret, TEMPLATE.read_text())),
        "Capabilities": ["CAPABILITY_IAM"],
    }

    def parameters(values):
        return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]

    cloudformation.create_stack(**request, Parameters=parameters(given))
    outputs = moto.outputs(name)
    resources = moto.resources(name)
    private = outputs["TaskSubnets"].split(",")

    # The default route of the private subnets is the NAT gateway in the public one.
    (nat,) = ec2.describe_nat_gateways(NatGatewayIds=[resources["NatGateway"][1]])["NatGateways"]
    assert nat["SubnetId"] == resources["PublicSubnet"][1] and nat["SubnetId"] not in private
    (table,) = ec2.describe_route_tables(RouteTableIds=[resources["PrivateRoutes"][1]])["RouteTables"]
    (default_route,) = [route for route in table["Routes"] if route["DestinationCidrBlock"] == "0.0.0.0/0"]
    assert default_route["NatGatewayId"] == nat["NatGatewayId"]
    assert len({subnet["AvailabilityZone"] for subnet in ec2.describe_subnets(SubnetIds=private)["Subnets"]}) == 2

    # The database accepts connections from the tasks only.
    (database,) = ec2.describe_security_groups(GroupIds=[resources["DatabaseSecurityGroup"][1]])["SecurityGroups"]
    (rule,) = database["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (5432, 5432, [])
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [outputs["TaskSecurityGroupId"]]

    cloudformation.update_stack(**request, Parameters=parameters(given | {"WebhookUrl": "https://receiver.example/second"}))
    parameter = moto.client("ssm").get_parameter(Name=f"/{name}/webhook-url")["Parameter"]
    assert parameter["Value"] == "https://receiver.example/second"
    # moto deletes neither NAT gateways nor route tables with a stack.
    ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    for table in ("PrivateRoutes", "PublicRoutes"):
        ec2.delete_route_table(RouteTableId=resources[table][1])
    moto.delete(name)
    assert resources["Vpc"][1] not in [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]]
    assert not moto.client("sqs").list_queues(QueueNamePrefix=name).get("QueueUrls")

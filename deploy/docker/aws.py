"""Calls to SSM and Secrets Manager for docker-compose.yml. Needs Python only.

  aws.py setup                      create the parameter if it is missing, and the secret
  aws.py put-parameter NAME VALUE   set a parameter
  aws.py put-secret NAME VALUE      set a secret
"""

import json
import os
import sys
import urllib.error
import urllib.request

PARAMETER, SECRET = "/bday/webhook-url", "bday/db-credentials"


def call(target, **arguments):
    # The emulator reads the service from the signature and does not verify it.
    service = {"AmazonSSM": "ssm", "secretsmanager": "secretsmanager"}[target.split(".")[0]]
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": target,
        "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0",
    }
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], json.dumps(arguments).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        problem = json.loads(error.read() or b"{}")
        if "NotFound" in problem.get("__type", ""):
            return None
        sys.exit(f"{target}: {error.code} {problem}")


def put_parameter(name, value):
    call("AmazonSSM.PutParameter", Name=name, Value=value, Type="String", Overwrite=True)


def put_secret(name, value):
    if call("secretsmanager.PutSecretValue", SecretId=name, SecretString=value) is None:
        call("secretsmanager.CreateSecret", Name=name, SecretString=value)


def setup():
    if call("AmazonSSM.GetParameter", Name=PARAMETER) is None:
        put_parameter(PARAMETER, os.environ["WEBHOOK_URL"])
    put_secret(SECRET, json.dumps({"username": "bday", "password": os.environ["DB_PASSWORD"]}))


commands = {"setup": setup, "put-parameter": put_parameter, "put-secret": put_secret}
if len(sys.argv) < 2 or sys.argv[1] not in commands:
    sys.exit(__doc__)
commands[sys.argv[1]](*sys.argv[2:])

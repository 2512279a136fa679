"""`deploy/aws/run` with a fake AWS CLI that records its calls."""

import json
import os
import subprocess

import pytest
from conftest import AWS

FAKE_AWS = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
if words[1] == "describe-stacks":
    print({k: k.lower() for k in ("ClusterName", "LogGroup")}.get(words[-3].split("'")[1], "a,b"))
elif words[1] == "run-task":
    print(os.environ.get("TASK", "arn:aws:ecs:eu-central-1:1:task/bday/0123abcd"))
elif words[1] == "get-log-events":
    print('{"planned":0}')
elif words[1] == "describe-tasks":
    print(os.environ["EXIT"])
"""


def run(tmp_path, *arguments, exit_code="0", **environment):
    fake = tmp_path / "aws"
    fake.write_text(FAKE_AWS)
    fake.chmod(0o755)
    recorded = tmp_path / "calls"
    recorded.write_text("")
    extra = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(recorded), "EXIT": exit_code}
    result = subprocess.run([AWS / "run", *arguments], capture_output=True, text=True, env=os.environ | extra | environment)
    return result, [json.loads(text) for text in recorded.read_text().splitlines()]


def test_it_runs_the_command_prints_its_log_and_returns_its_exit_code(tmp_path):
    result, calls = run(tmp_path, "bday", "tick", exit_code="1")
    assert (result.returncode, result.stdout) == (1, '{"planned":0}\n')
    (logs,) = [call for call in calls if call[1] == "get-log-events"]
    assert logs[logs.index("--log-stream-name") + 1] == "all/bday/0123abcd"


@pytest.mark.parametrize("words", [["user", "add", "--first-name", 'Zo\u00eb "Z"'], ["x\\y", "", "a b", "*"]])
def test_the_command_is_passed_unchanged(tmp_path, words):
    _, calls = run(tmp_path, "bday", *words)
    (call,) = [call for call in calls if call[1] == "run-task"]
    overrides = json.loads(call[call.index("--overrides") + 1])
    assert overrides == {"containerOverrides": [{"name": "bday", "command": words}]}


def test_it_reports_a_task_that_did_not_start(tmp_path):
    result, _ = run(tmp_path, "bday", "tick", TASK="None")
    assert result.returncode != 0 and "did not start" in result.stderr


def test_it_prints_its_usage_without_a_command(tmp_path):
    result, calls = run(tmp_path, "bday")
    assert result.returncode == 2 and "usage" in result.stderr and not calls

"""Each alarm, as deployed, with input that must raise it and input that must not.

Alarms and metric filters are read from the deployed stack.
"""

import json
import re

import pytest
from cloudwatch import Metrics, Pattern
from conftest import AWS

SLUGS = [
    "scheduler-errors", "queue-depth", "dead-letters", "worker-error-rate",
    "database-cpu", "database-storage", "no-tick", "lateness-p99", "oldest-waiting",
]  # fmt: skip
NOW = 3600


def line(message, level="INFO", **fields):
    at = {"timestamp": "2026-03-15T14:00:00.012345Z", "level": level, "message": message, "target": "bday"}
    return json.dumps(at | fields)


def tick(failed=0):
    return line("tick", planned=3, due=10, enqueued=10 - failed, failed=failed, skipped=0, elapsed_ms=12)


def deliveries(rate=0.0, p99=900):
    counts = {"delivered": 90, "failed": 10, "dead": 0, "error_rate_percent": rate}
    return line("deliveries", **counts, lateness_p50_ms=200, lateness_p99_ms=p99, lateness_max_ms=p99)


def backlog(waiting, oldest=20):
    return line("backlog", waiting=waiting, delivering=256, oldest_age_secs=oldest)


TICK_FAILED = line("tick failed", level="ERROR", error="database: connection refused")
ATTEMPT_FAILED = line("attempt failed", level="WARN", event_id="e", user_id="u", attempt=2, reason="status", status=503)
PLANNING_FAILED = line("planning failed", level="ERROR", error="database: connection refused")
EVERY_MINUTE = range(0, NOW, 60)


def logs(*lines):
    """Returns log lines for pairs of (minutes before now, text)."""
    return [(NOW - 60 * minutes + 5, text) for minutes, text in lines]


def healthy():
    return [(at + 1, tick()) for at in EVERY_MINUTE] + [(at + 2, deliveries()) for at in EVERY_MINUTE]


def waiting(events, minutes=15, oldest=20):
    """Returns the backlog line of every 15 s until now."""
    return [(NOW - 15 * (n + 1), backlog(events, oldest)) for n in range(4 * minutes)]


def samples(name, value, minutes=15, namespace="AWS/SQS", **dimensions):
    """Returns one sample per minute until now."""
    return [(NOW - 60 * (m + 1), namespace, name, value, dimensions) for m in range(minutes)]


VISIBLE, QUEUE, LETTERS = "ApproximateNumberOfMessagesVisible", "shared-messages", "shared-messages-dlq"
DATABASE = {"namespace": "AWS/RDS", "DBInstanceIdentifier": "shared"}

# (alarm, case, log lines, metric samples, expected state)
CASES = [
    ("scheduler-errors", "four failed passes in five minutes", healthy() + logs(*[(m, TICK_FAILED) for m in (1, 2, 3, 4)]), [], "ALARM"),
    ("scheduler-errors", "four passes with unsent packs", healthy() + logs(*[(m, tick(failed=2)) for m in (1, 2, 3, 4)]), [], "ALARM"),
    ("scheduler-errors", "planning failed four times", healthy() + logs(*[(1, PLANNING_FAILED)] * 4), [], "ALARM"),
    ("scheduler-errors", "three failed passes", healthy() + logs(*[(m, TICK_FAILED) for m in (1, 2, 3)]), [], "OK"),
    ("scheduler-errors", "four failed passes over ten minutes", healthy() + logs(*[(m, TICK_FAILED) for m in (1, 4, 7, 10)]), [], "OK"),
    ("scheduler-errors", "failed deliveries", healthy() + logs(*[(1, ATTEMPT_FAILED)] * 50), [], "OK"),
    ("queue-depth", "1,001 events wait for five minutes", healthy() + waiting(1001, 5), [], "ALARM"),
    ("queue-depth", "the same, logged by two schedulers", healthy() + waiting(1001, 5) + waiting(1001, 5), [], "ALARM"),
    ("queue-depth", "1,000 events wait", healthy() + waiting(1000), [], "OK"),
    ("queue-depth", "two schedulers log 600 waiting events", healthy() + waiting(600) + waiting(600), [], "OK"),
    ("queue-depth", "50,000 events, delivered in four minutes", healthy() + waiting(50000, 4), [], "OK"),
    ("queue-depth", "no event waits, many packs are in the queue", healthy(), samples(VISIBLE, 5000, QueueName=QUEUE), "OK"),
    ("dead-letters", "one dead letter", [], samples(VISIBLE, 1, 1, QueueName=LETTERS), "ALARM"),
    ("dead-letters", "none", [], samples(VISIBLE, 0, QueueName=LETTERS), "OK"),
    ("dead-letters", "messages in the queue itself", [], samples(VISIBLE, 5, QueueName=QUEUE), "OK"),
    ("worker-error-rate", "10.1 % failed", healthy() + logs((1, deliveries(rate=10.1))), [], "ALARM"),
    ("worker-error-rate", "10 % failed", healthy() + logs((1, deliveries(rate=10))), [], "OK"),
    ("worker-error-rate", "no event was due", [(at, tick()) for at in EVERY_MINUTE], [], "OK"),
    ("worker-error-rate", "failures an hour ago", healthy() + logs((55, deliveries(rate=80))), [], "OK"),
    ("database-cpu", "81 %", [], samples("CPUUtilization", 81, **DATABASE), "ALARM"),
    ("database-cpu", "80 %", [], samples("CPUUtilization", 80, **DATABASE), "OK"),
    ("database-cpu", "one busy minute", [], samples("CPUUtilization", 100, 1, **DATABASE) + samples("CPUUtilization", 20, **DATABASE), "OK"),
    ("database-storage", "just under 2 GB free", [], samples("FreeStorageSpace", 2e9 - 1, **DATABASE), "ALARM"),
    ("database-storage", "2 GB free", [], samples("FreeStorageSpace", 2e9, **DATABASE), "OK"),
    ("no-tick", "a stopped daemon", logs((4, tick())), [], "ALARM"),
    ("no-tick", "every pass fails", logs((4, tick()), *[(m, TICK_FAILED) for m in (1, 2, 3)]), [], "ALARM"),
    ("no-tick", "workers log while the scheduler hangs", logs(*[(m, deliveries()) for m in (1, 2, 3)]), [], "ALARM"),
    ("no-tick", "a restart misses two ticks", logs((3, tick()), (4, tick())), [], "OK"),
    ("no-tick", "ticks without due events", [(at, tick()) for at in EVERY_MINUTE], [], "OK"),
    ("lateness-p99", "just over five minutes late", healthy() + logs((2, deliveries(p99=300001))), [], "ALARM"),
    ("lateness-p99", "five minutes late", healthy() + logs((2, deliveries(p99=300000))), [], "OK"),
    ("oldest-waiting", "an event has waited for over 15 minutes", healthy() + waiting(1, 1, oldest=901), [], "ALARM"),
    ("oldest-waiting", "an event has waited for 15 minutes", healthy() + waiting(1, 1, oldest=900), [], "OK"),
    ("oldest-waiting", "no event waits", healthy(), [], "OK"),
    ("oldest-waiting", "no log at all", [], [], "OK"),
]  # fmt: skip


@pytest.fixture(scope="module")
def alarms(ministack, stack):
    found = ministack.client("cloudwatch").describe_alarms(AlarmNamePrefix="shared-")["MetricAlarms"]
    return {alarm["AlarmName"].removeprefix("shared-"): alarm for alarm in found}


@pytest.fixture(scope="module")
def filters(ministack, stack):
    return ministack.client("logs").describe_metric_filters(logGroupName=stack["LogGroup"])["metricFilters"]


@pytest.mark.parametrize(("slug", "case", "lines", "metrics", "state"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_alarm(alarms, filters, slug, case, lines, metrics, state):
    store = Metrics(filters)
    store.log(lines)
    for at, namespace, name, value, dimensions in metrics:
        store.put(at, namespace, name, value, **dimensions)
    assert store.state(alarms[slug], NOW) == state


def test_every_alarm_has_a_case_that_trips_it_and_one_that_does_not(alarms):
    for state in ("ALARM", "OK"):
        assert {case[0] for case in CASES if case[4] == state} == set(alarms) == set(SLUGS)


def test_every_alarm_sends_mail_when_it_is_raised_and_when_it_ends(alarms, stack):
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [stack["AlarmTopicArn"]]


def test_every_alarm_has_its_entry_in_the_runbook(alarms):
    headings = re.findall(r"^## (\S+)$", (AWS.parents[1] / "docs/runbook.md").read_text(), re.M)
    for slug, alarm in alarms.items():
        assert alarm["AlarmDescription"].endswith(f"docs/runbook.md#{slug}")
        assert slug in headings


def test_every_filter_feeds_an_alarm(alarms, filters):
    fed = {(t["metricNamespace"], t["metricName"]) for f in filters for t in f["metricTransformations"]}
    read = {(alarm["Namespace"], alarm["MetricName"]) for alarm in alarms.values()}
    assert fed == {metric for metric in read if not metric[0].startswith("AWS/")}


@pytest.mark.parametrize(
    ("name", "matching", "others"),
    [
        ("Ticks", [tick()], [TICK_FAILED, deliveries(), "tick", '"tick"', line("ticks"), line("x", tick="tick")]),
        ("SchedulerErrors", [TICK_FAILED, PLANNING_FAILED, tick(failed=1)], [tick(), ATTEMPT_FAILED, line("tick"), line("x", failed=3)]),
        ("EventsWaiting", [backlog(1)], [tick(), deliveries(), line("x", waiting=5000)]),
        ("OldestWaiting", [backlog(1)], [tick(), deliveries(), line("x", oldest_age_secs=5000)]),
        ("ErrorRate", [deliveries()], [tick(), ATTEMPT_FAILED, line("delivery", error_rate_percent=90)]),
        ("LatenessP99", [deliveries()], [tick(), line("x", lateness_p99_ms=10**9)]),
    ],
)  # fmt: skip
def test_filter(filters, name, matching, others):
    (pattern,) = [Pattern(f["filterPattern"]) for f in filters if f["filterName"] == name]
    assert all(pattern.matches(text) for text in matching)
    assert not any(pattern.matches(text) for text in others)


def test_every_message_in_a_filter_or_the_runbook_is_logged_by_the_daemon(filters):
    root = AWS.parents[1]
    source = "".join(path.read_text() for path in (root / "src").rglob("*.rs"))
    texts = " ".join(f["filterPattern"] for f in filters) + (root / "docs/runbook.md").read_text()
    messages = set(re.findall(r'\$\.message = "([^"]+)"|"message":"([^"]+)"', texts))
    assert [found for found in map("".join, messages) if f'"{found}"' not in source] == []


def test_workers_scale_with_the_backlog(template, filters):
    """Read from the template, because no emulator creates scaling policies."""
    resources = {name: resource["Properties"] for name, resource in template["Resources"].items() if "Properties" in resource}

    def steps(alarm, depth, minutes=15, lines=None):
        assert resources[alarm]["Namespace"] == {"Ref": "Prefix"}
        alarm = resources[alarm] | {"Namespace": "shared"}
        store = Metrics(filters)
        store.log(healthy() + (waiting(depth, minutes) if depth else []) if lines is None else lines)
        if store.state(alarm, NOW) != "ALARM":
            return 0
        (action,) = alarm["AlarmActions"]
        beyond = depth - alarm["Threshold"]
        for step in resources[action["Ref"]]["StepScalingPolicyConfiguration"]["StepAdjustments"]:
            low, high = step.get("MetricIntervalLowerBound", -1e9), step.get("MetricIntervalUpperBound", 1e9)
            if low <= beyond < high or beyond == high == 0:
                return step["ScalingAdjustment"]
        raise AssertionError(f"no step for {depth}")

    assert [steps("BacklogLong", depth) for depth in (0, 200, 201, 1999, 2000, 90000)] == [0, 0, 1, 1, 3, 3]
    assert steps("BacklogLong", 5000, minutes=1) == 0, "a backlog of one minute adds no worker"
    assert [steps("BacklogShort", depth) for depth in (0, 20, 21)] == [-1, -1, 0]
    assert steps("BacklogShort", 0, lines=[]) == 0, "missing logs change nothing"

"""Checks that rules, dashboard, documents and daemon agree, which promtool does not check."""

import json
import pathlib
import re
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
DASHBOARD = json.loads((HERE / "dashboard.json").read_text())
ALERTS = (HERE / "alerts.yml").read_text()
TESTS = (HERE / "alerts_test.yml").read_text()
SECTIONS = {name: body for name, body in re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/runbook.md").read_text(), re.M | re.S)}


def queries():
    """Yields the queries of the dashboard, with the variables of Grafana replaced."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m").replace("$job", "bday")
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"].replace("$job", "bday")


def every_query_of_the_dashboard_is_promql():
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries())]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        subprocess.run(["promtool", "check", "rules", "--lint=none", file.name], check=True, stdout=subprocess.DEVNULL)


def panels_have_unique_ids_and_do_not_overlap():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


def every_alert_has_a_case_that_raises_it_and_one_that_does_not():
    for alert in re.findall(r"- alert: (\w+)", ALERTS):
        quiet = re.findall(rf"alertname: {alert}, exp_alerts: \[\]", TESTS)
        raised = re.findall(rf"alertname: {alert}\n\s+exp_alerts:\n", TESTS)
        assert quiet and raised, alert


def alerts_and_entries_of_the_runbook_correspond():
    linked = re.findall(r"runbook: docs/runbook\.md#(\S+)", ALERTS)
    assert sorted(linked) == sorted(SECTIONS), (linked, list(SECTIONS))
    for name, body in SECTIONS.items():
        assert re.findall(r"^\*\*(.+?)\.\*\*", body, re.M) == ["Means", "First look", "Usual causes", "Do"], name


def every_metric_of_rules_dashboard_and_documents_exists():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    documents = "".join(path.read_text() for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
    used = set(re.findall(r"\b(?:bday|process)_[a-z0-9_]+", ALERTS + " ".join(queries())))
    used |= set(re.findall(r"\bbday_[a-z0-9_]+_(?:total|seconds|open|messages|letters|waiting|delivering|paused|users)\b", documents))
    missing = [name for name in sorted(used) if re.sub(r"_bucket$", "", name) not in source and not written_by_format(name, source)]
    assert not missing, f"not in src/: {missing}"


def every_counter_of_the_rules_starts_at_zero():
    zero = (ROOT / "src/runtime/telemetry/zero.rs").read_text()
    counters = set(re.findall(r"\bbday_\w+_total\b", ALERTS))
    missing = [name for name in sorted(counters) if f'"{name}"' not in zero]
    assert counters and not missing, f"not in src/runtime/telemetry/zero.rs: {missing}"


def written_by_format(name, source):
    """Returns whether a format such as `bday_events_{state}_total` in the source produces `name`."""
    patterns = re.findall(r'"(bday_\w*\{\w+\}\w*)"', source)
    return any(re.fullmatch(re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(pattern)), name) for pattern in patterns)


CHECKS = [
    every_query_of_the_dashboard_is_promql,
    panels_have_unique_ids_and_do_not_overlap,
    every_alert_has_a_case_that_raises_it_and_one_that_does_not,
    alerts_and_entries_of_the_runbook_correspond,
    every_metric_of_rules_dashboard_and_documents_exists,
    every_counter_of_the_rules_starts_at_zero,
]
for check in CHECKS:
    check()
    print(f"  ok: {check.__name__.replace('_', ' ')}")

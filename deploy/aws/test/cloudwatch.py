"""Evaluates alarms as CloudWatch does, which no emulator supports: log line -> metric filter -> metric -> alarm state.

Supports what the template uses: filter patterns `{ ... }` over JSON with `=`, `!=`, `<`, `<=`, `>`, `>=`, `&&`, `||` and parentheses; a
constant or `$.field` as the value of a metric; a default value for minutes with log lines of which none matches; alarms over one metric
with a plain statistic. Anything else is an error. Times are in seconds.
"""

import json
import operator
import re
from collections import defaultdict

TOKEN = re.compile(r'\s*(?:(\(|\)|&&|\|\||!=|>=|<=|=|>|<)|(\$(?:\.\w+)+)|"([^"*]*)"|(-?\d+(?:\.\d+)?))')
COMPARE = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
THRESHOLD = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
STATISTIC = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "Average": lambda values: sum(values) / len(values),
}


def field(line, path):
    """Returns the value at `$.a.b`, or None."""
    for name in path.split(".")[1:]:
        line = line.get(name) if isinstance(line, dict) else None
    return line


class Pattern:
    """The compiled pattern of a metric filter."""

    def __init__(self, text):
        inside = re.fullmatch(r"\s*\{(.*)\}\s*", text, re.S)
        if not inside:
            raise ValueError(f"not a JSON pattern: {text}")
        self.tokens, at = [], 0
        body = inside[1].rstrip()
        while at < len(body):
            found = TOKEN.match(body, at)
            if not found:
                raise ValueError(f"unsupported: {body[at:]}")
            sign, path, string, number = found.groups()
            self.tokens.append(
                ("sign", sign) if sign else ("path", path) if path else ("number", float(number)) if number else ("string", string)
            )
            at = found.end()
        self.test = self.disjunction()
        if self.tokens:
            raise ValueError(f"unexpected: {self.tokens}")

    def matches(self, text):
        try:
            line = json.loads(text)
        except ValueError:
            return False
        return isinstance(line, dict) and self.test(line)

    def take(self, *signs):
        if self.tokens and self.tokens[0][0] == "sign" and self.tokens[0][1] in signs:
            return self.tokens.pop(0)[1]
        return None

    def disjunction(self):
        sides = [self.conjunction()]
        while self.take("||"):
            sides.append(self.conjunction())
        return lambda line: any(side(line) for side in sides)

    def conjunction(self):
        sides = [self.comparison()]
        while self.take("&&"):
            sides.append(self.comparison())
        return lambda line: all(side(line) for side in sides)

    def comparison(self):
        if self.take("("):
            inner = self.disjunction()
            if not self.take(")"):
                raise ValueError("missing closing parenthesis")
            return inner
        (left, path), sign, (kind, wanted) = self.tokens.pop(0), self.take("=", "!=", *COMPARE), self.tokens.pop(0)
        if left != "path" or not sign or kind not in ("string", "number"):
            raise ValueError(f"not a comparison: {path} {sign} {wanted}")
        if sign in ("=", "!="):
            # A missing field matches neither `=` nor `!=`.
            return lambda line: field(line, path) is not None and (field(line, path) == wanted) == (sign == "=")
        return lambda line: (
            isinstance(found := field(line, path), int | float)
            and not isinstance(found, bool)
            and COMPARE[sign](found, wanted)
        )


class Metrics:
    """Stored metrics: (namespace, name, dimensions) to samples of (second, value)."""

    def __init__(self, filters=()):
        self.filters = [(Pattern(f["filterPattern"]), f["metricTransformations"]) for f in filters]
        self.samples = defaultdict(list)

    def put(self, at, namespace, name, value, **dimensions):
        self.samples[namespace, name, tuple(sorted(dimensions.items()))].append((at, value))

    def log(self, lines):
        """Applies every metric filter to (second, text) lines of one log group."""
        for pattern, transformations in self.filters:
            for transformation in transformations:
                if transformation.get("dimensions"):
                    raise ValueError("dimensions are not supported")
                namespace, name = transformation["metricNamespace"], transformation["metricName"]
                minutes = defaultdict(list)
                for at, text in lines:
                    values = minutes[at // 60]
                    if pattern.matches(text):
                        wanted = transformation["metricValue"]
                        value = field(json.loads(text), wanted) if wanted.startswith("$") else float(wanted)
                        if isinstance(value, int | float):
                            values.append((at, value))
                for minute, values in minutes.items():
                    default = transformation.get("defaultValue")
                    if not values and default is not None:
                        values.append((minute * 60, float(default)))
                    for at, value in values:
                        self.put(at, namespace, name, value)

    def state(self, alarm, now):
        """Returns the state of the alarm at `now`: ALARM, OK or INSUFFICIENT_DATA."""
        if alarm.get("Metrics") or alarm.get("ExtendedStatistic"):
            raise ValueError("only alarms over one plain metric are supported")
        dimensions = tuple(sorted((d["Name"], d["Value"]) for d in alarm.get("Dimensions", [])))
        samples = self.samples[alarm["Namespace"], alarm["MetricName"], dimensions]
        period, periods = int(alarm["Period"]), int(alarm["EvaluationPeriods"])
        breaches = THRESHOLD[alarm["ComparisonOperator"]]
        treatment = alarm.get("TreatMissingData", "missing")
        breached = []
        for number in range(periods):
            end = now - number * period
            values = [value for at, value in samples if end - period <= at < end]
            if values:
                breached.append(breaches(STATISTIC[alarm["Statistic"]](values), float(alarm["Threshold"])))
            elif treatment in ("breaching", "notBreaching"):
                breached.append(treatment == "breaching")
        if not breached:
            return "INSUFFICIENT_DATA"
        return "ALARM" if sum(breached) >= int(alarm.get("DatapointsToAlarm") or periods) else "OK"

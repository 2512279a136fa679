"""Generators for the custom string formats of the API's description.

Without them, nearly every request would be rejected for an invalid time zone or date, and the code behind that
validation would hardly be tested."""

import zoneinfo

import schemathesis
from hypothesis import strategies as st

dates = st.dates().map(lambda date: date.isoformat())
schemathesis.openapi.format("annual-date", dates | dates.map(lambda date: "-" + date[4:]))
schemathesis.openapi.format("time-zone", st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia"]))
schemathesis.openapi.format("local-time", st.times().map(lambda time: time.strftime("%H:%M")))
schemathesis.openapi.format("email-address", st.emails().filter(lambda address: len(address) <= 254))
schemathesis.openapi.format("phone-number", st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True, alphabet="+0123456789"))
schemathesis.openapi.format("slack-user-id", st.from_regex(r"[UW][A-Z0-9]{5,20}", fullmatch=True))
schemathesis.openapi.format("language-tag", st.sampled_from(["de", "pt-BR", "zh-Hant-TW"]))
schemathesis.openapi.format("kind", st.sampled_from(["birthday", "work_anniversary"]))
schemathesis.openapi.format("instant", st.datetimes().map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)) | dates)
schemathesis.openapi.format("user-cursor", st.uuids().map(lambda id: id.hex))
schemathesis.openapi.format(
    "time-cursor",
    st.tuples(st.integers(0, 2**52), st.uuids()).map(lambda place: f"{place[0]}_{place[1].hex}"),
)

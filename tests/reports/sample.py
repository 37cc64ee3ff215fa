"""A report as a large organization would get it, and one whose texts are meant to do harm."""

import random
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aioposthog_env.models.fields import JSONValue
from aioposthog_env.models.settings import FACTS
from aioposthog_env.policy.rate_limit import SERVER_LIMITS
from aioposthog_env.reports import DriftRow, Report, ReportChange, ReportRow, RequestMark

HOST = "https://eu.posthog.com"
_TOLD: dict[str, JSONValue] = {
    "anonymize_ips": True,
    "app_urls": ["https://www.example.com"],
    "base_currency": "EUR",
    "business_model": "b2b",
    "cookieless_server_hash_mode": 2,
    "feature_flag_confirmation_message": "Ask the owner of the flag.",
    "session_recording_retention_period": "90d",
    "session_recording_sample_rate": "0.25",
    "slack_incoming_webhook": "(secret)",
    "timezone": "Europe/Berlin",
    "week_start_day": 1,
    "capture_console_log_opt_in": True,
    "heatmaps_opt_in": True,
    "surveys_opt_in": True,
}
DESIRED = _TOLD | dict.fromkeys(sorted(FACTS.keys() - _TOLD.keys() - {"name"})[: 60 - len(_TOLD)], True)
"""60 settings."""
_KINDS: tuple[dict[str, JSONValue], ...] = (
    {},
    {"timezone": "UTC"},
    {"timezone": "UTC", "week_start_day": 0, "anonymize_ips": False},
    {"session_recording_sample_rate": "1.00", "session_recording_retention_period": "30d"},
    {"anonymize_ips": False, "capture_console_log_opt_in": False, "heatmaps_opt_in": False, "surveys_opt_in": None},
    {"slack_incoming_webhook": "(another secret)", "base_currency": "USD"},
)


def sample(number: int, *, seed: int = 1, title: str = "Anonymize IP addresses, keep recordings for 90 days") -> Report:
    """A run over many environments of which some were not as desired, and some are not yet."""
    rng = random.Random(seed)
    names = [f"{rng.choice(_PRODUCTS)} {rng.choice(_STAGES)} {rng.choice(_PLACES)}" for _ in range(number)]
    rows = tuple(_row(id, name, rng) for id, name in enumerate(names, 1001))
    drift = tuple(_drift(row, rng) for row in rows)
    requests = tuple(_requests(2 * number, rng))
    return Report(
        title=title,
        command="aioposthog-env apply policy.yaml --profile eu --report run.html",
        started=datetime(2026, 3, 2, 8, 15, tzinfo=UTC),
        seconds=requests[-1].at,
        hosts=(HOST,),
        rows=rows,
        drift=drift,
        desired=DESIRED,
        requests=requests,
        notes=("The journal is apply.db. The same command goes on where this run has stopped.",),
    )


def _row(id: int, name: str, rng: random.Random) -> ReportRow:
    chance = rng.random()
    changes = [ReportChange(setting="anonymize_ips", before=False, after=True)]
    if chance < 0.5:
        before = rng.choice(["30d", "30d", "30d", "1y"])
        changes.append(ReportChange(setting="session_recording_retention_period", before=before, after="90d"))
    if chance < 0.2:
        changes.append(ReportChange(setting="timezone", before=rng.choice(["UTC", "US/Pacific"]), after="Europe/Berlin"))
    if chance < 0.05:
        changes.append(ReportChange(setting="slack_incoming_webhook", before="(secret)", after="(secret)", sensitive=True))
    became: dict[str, Any] = {"status": "succeeded", "changes": tuple(changes), "attempts": 2}
    if chance > 0.985:
        became = {
            "status": "failed",
            "error": f"update of environment {id}: PostHog answered 403 permission_denied: You don't have sufficient "
            "permissions in the project.",
            "advice": "Give the key the scope that is missing, or let somebody who may do it run this again.",
            "attempts": 2,
            "changes": tuple(changes),
        }
    elif chance > 0.975:
        became = {
            "status": "skipped",
            "reason": "stale",
            "error": f"update of environment {id}: timezone is not as it was planned with.",
            "advice": "Somebody has changed one of its settings since. Make a new plan for it, or leave it.",
            "attempts": 1,
        }
    elif chance > 0.97:
        became = {
            "status": "failed",
            "error": f"update of environment {id}: No whole answer came from {HOST}: the connection was closed.",
            "advice": "The answer was lost each time. Sending it again is safe: run again with the same journal.",
            "attempts": 4,
            "changes": tuple(changes),
        }
    elif chance > 0.8:
        became = {"status": "unchanged", "reason": "already done", "attempts": 1}
    return ReportRow(host=HOST, id=id, name=name, waited=round(rng.expovariate(0.2), 3), **became)


def _drift(row: ReportRow, rng: random.Random) -> DriftRow:
    own = dict(rng.choices(_KINDS, weights=(70, 12, 6, 6, 4, 2))[0])
    if rng.random() < 0.02:
        own[rng.choice(list(DESIRED))] = rng.choice([False, None])
    return DriftRow(host=row.host, id=row.id, name=row.name, values={**DESIRED, **own})


def _requests(number: int, rng: random.Random) -> Iterator[RequestMark]:
    """As fast as 32 workers are and both windows allow."""
    at, logs = 0.0, [(limit, deque[float]()) for limit in SERVER_LIMITS]
    for count in range(number):
        at += rng.expovariate(55)
        for limit, log in logs:
            if len(log) == limit.count:
                at = max(at, log.popleft() + limit.window * 1.0002)
            log.append(at)
        yield RequestMark(at=at, host=HOST, outcome="throttled" if count in {number // 2, number // 2 + 1} else "answered")


EVIL = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]>&lt;b&gt;",
    '=HYPERLINK("https://evil.example","x")',
    "\t=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "a|b`c`[d](https://evil.example)![e](f)",
    "https://evil.example www.evil.example <https://evil.example>",
    "\u202egpj.exe\u2066",
    "line\nbreak\r\nand\x00\x1b[31mred\x7f",
    "{{ 7 * 7 }}{% raw %}",
    "\ud800 lone",
    "\u2028 and \u2029",
    "quotes \" and ' and `",
    "שלום مرحبا",
)


def evil() -> Report:
    """Every text from outside tries something."""
    rows = tuple(
        ReportRow(
            host=HOST, id=number, name=text, status="failed", reason=text, error=text, advice=text,
            changes=(ReportChange(setting="app_urls", before=[text], after={text: text}),),
        )
        for number, text in enumerate(EVIL, 1)
    )  # fmt: skip
    drift = tuple(
        DriftRow(host=text, id=number, name=text, values={"app_urls": [text], text: text})
        for number, text in enumerate(EVIL, 1)
    )
    return Report(
        title=EVIL[0],
        command=EVIL[1],
        started=datetime(2026, 3, 2, 8, 15, tzinfo=UTC),
        hosts=EVIL[:3],
        rows=rows,
        drift=drift,
        desired={"app_urls": list(EVIL)},
        requests=tuple(RequestMark(at=0.5, host=text, outcome=text) for text in EVIL[:3]),
        notes=EVIL,
    )


_PRODUCTS = ("Shop", "Blog", "App", "Portal", "Docs", "Checkout", "Support", "Partner hub")
_STAGES = ("production", "staging", "preview", "QA")
_PLACES = ("Berlin", "Vienna", "Zürich", "Lyon", "Oslo", "Kraków", "Lisboa", "Malmö", "Gent", "Porto")

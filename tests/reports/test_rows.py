"""What is reported of each environment is what the run gave, without secrets, and says what to do."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from aioposthog_env import (
    ApiError,
    BulkReport,
    Environment,
    EnvironmentRef,
    Outcome,
    OutcomeUnknownError,
    Plan,
    PostHogEnvError,
    Sandbox,
    SettingsNotAppliedError,
    SinkError,
    TeamSettings,
    ValidationError,
)
from aioposthog_env import errors as all_errors
from aioposthog_env.api.endpoints import ENDPOINTS
from aioposthog_env.bulk.outcome import Reason, Status
from aioposthog_env.models.comparing import SENSITIVE, digest
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.reports import Report, ReportChange, write_report
from aioposthog_env.reports.advice import advice_of
from aioposthog_env.reports.model import DriftRow
from aioposthog_env.reports.rows import desired_to_show, drift_rows, rows_of
from aioposthog_env.telemetry import Event, ItemFinished
from tests.conftest import connect
from tests.reports.sample import sample

SAFETY = (Path(__file__).parents[2] / "docs" / "safety.md").read_text(encoding="utf-8")
WEBHOOK = "https://hooks.slack.example/services/T0/B0/XXXXXXXXXXXX"


def outcome(status: Status, error: PostHogEnvError | None = None, **more: Any) -> Outcome[Any]:
    return Outcome(ref=EnvironmentRef(42), status=status, error=error, **more)


async def test_a_run_with_a_plan(tmp_path: Path) -> None:
    async with Sandbox(6, era="2025-11", lacking_anonymize_ips=6) as sandbox, connect(sandbox) as environments:
        wanted = TeamSettings(anonymize_ips=True, slack_incoming_webhook=WEBHOOK)
        plan = await environments.plan(wanted, environments.list())
        sandbox.environment(2).settings["slack_incoming_webhook"] = "https://hooks.slack.example/other"
        done = await environments.apply(plan, max_age=0)
        rows = rows_of(done, sandbox.url, {3: "Given"}, plan)
        assert {row.host for row in rows} == {sandbox.url}
    assert [row.id for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0].name == plan.environments[0].name
    assert rows[2].name == "Given"
    assert rows[0].changes == (
        ReportChange(setting="anonymize_ips", before=False, after=True),
        ReportChange(setting="slack_incoming_webhook", before="(secret)", after="(secret)", sensitive=True),
    )
    assert (rows[0].status, rows[0].error, rows[0].advice) == ("succeeded", None, None)
    assert (rows[1].status, rows[1].reason) == ("skipped", "stale")
    assert rows[1].advice is not None
    assert rows[1].needs_attention
    assert not rows[0].needs_attention
    assert [row.attempts for row in rows] == [one.attempts for one in sorted(done, key=lambda one: one.ref.id)]
    for ending in ("html", "csv", "json", "md"):
        file = tmp_path / f"run.{ending}"
        write_report(attrs.evolve(sample(1), rows=rows, drift=(), requests=()), file)
        assert WEBHOOK not in file.read_text()
        assert "(secret)" in file.read_text()


async def test_a_run_without_a_plan() -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        done = await environments.each([1, 2, 99]).update(TeamSettings(timezone="Europe/Vienna"))
        rows = rows_of(done, sandbox.url)
        assert [row.name for row in rows] == [*(sandbox.environment(id).settings["name"] for id in (1, 2)), ""]
    assert [row.status for row in rows] == ["succeeded", "succeeded", "failed"]
    assert rows[2].error is not None
    assert rows[2].error.startswith("update of environment 99: ")
    assert rows[2].changes == ()


def test_what_was_seen_of_an_unknown_outcome_is_told() -> None:
    error = OutcomeUnknownError("It left.", observations=["The answer was lost.", "It left."])
    (row,) = rows_of(BulkReport((outcome("unknown", error),)), "https://eu.posthog.com")
    assert row.error == "It left. The answer was lost."


def kinds(kind: type[PostHogEnvError]) -> Iterator[type[PostHogEnvError]]:
    for one in kind.__subclasses__():
        if one.__module__ == all_errors.__name__:
            yield one
            yield from kinds(one)


def test_a_queue_that_is_gone_is_no_reason_to_look_at_each_environment() -> None:
    assert "workers' queue" in (advice_of(outcome("unknown", all_errors.QueueError("why"))) or "")


def test_every_error_has_advice_of_its_own() -> None:
    general = advice_of(outcome("failed"))
    told = {}
    for kind in set(kinds(PostHogEnvError)) - {OutcomeUnknownError, SinkError, ApiError}:
        if kind.__name__ not in {"BulkError", "ClientStateError"}:  # no outcome has these
            error = kind.__new__(kind)
            PostHogEnvError.__init__(error, "why")
            told[kind] = advice_of(outcome("failed", error))
    assert general not in told.values()
    assert len(set(told.values())) >= len(told) - 1, "InvalidSettingsError is a ConfigurationError"


def test_advice_is_that_of_the_docs() -> None:
    for status in get_args(Status):
        assert f"| `{status}` |" in SAFETY
    for reason in get_args(Reason):
        advice = advice_of(outcome("skipped", reason=reason))
        assert advice is not None
        row = re.search(rf"^\| `{reason}` \| (.*) \| (.*) \|$", SAFETY, re.M)
        if row is None:
            assert reason in {"already done", "done earlier"}
            continue
        told, said = (set(re.findall(r"[a-z]{4,}", text.lower())) for text in (advice, row[2]))
        assert len(told & said) >= min(3, len(said)) or len(said) < 3, (reason, advice, row[2])
    assert advice_of(outcome("succeeded")) is None
    assert advice_of(outcome("unchanged", reason="already done")) is None


@pytest.mark.parametrize("endpoint", [row.name for row in ENDPOINTS])
def test_what_is_unknown_is_not_to_be_repeated(endpoint: str) -> None:
    advice = advice_of(outcome("unknown", OutcomeUnknownError("It left.").about(endpoint, 42)))
    assert advice is not None
    assert advice.startswith("Do not repeat it by hand. ")
    once = "rotate_secret_token", "reset_token", "create", "add_product_intent", "complete_product_onboarding"
    if endpoint in once:
        assert len(advice) > len(str(advice_of(outcome("unknown")))) - 20
        assert advice != advice_of(outcome("unknown"))


@pytest.mark.parametrize(
    "error",
    [
        SinkError("The sink failed."),
        SettingsNotAppliedError(fields=["timezone"], environment=None, action_done=True),
        ValidationError("why", status=400).after("The secret was rotated."),
    ],
)
def test_what_has_happened_is_not_to_be_repeated(error: PostHogEnvError) -> None:
    advice = advice_of(outcome("failed", error))
    assert advice is not None
    assert re.search("does not rotate again|do not repeat", advice)


def test_settings_that_were_not_taken() -> None:
    assert "timezone" in str(advice_of(outcome("succeeded", not_applied=("timezone",))))
    assert "by hand" in str(advice_of(outcome("succeeded", not_applied=("timezone",), reason="not kept")))


def environment(id: int, **settings: Any) -> Environment:
    return Environment(id=id, name=f"Environment {id}", settings=TeamSettings(name=f"Environment {id}", **settings))


def test_drift() -> None:
    wanted: dict[str, JSONValue] = {
        "timezone": "UTC",
        "session_recording_sample_rate": "0.5",
        "slack_incoming_webhook": WEBHOOK,
    }
    rows = drift_rows(
        [
            environment(2, timezone="UTC", session_recording_sample_rate="0.50", slack_incoming_webhook=WEBHOOK),
            environment(1, timezone="Europe/Vienna", slack_incoming_webhook=f"{WEBHOOK}2", heatmaps_opt_in=True),
            environment(3, timezone="US/Pacific", slack_incoming_webhook=None),
        ],
        "https://eu.posthog.com",
        wanted,
        desired_of={3: {"timezone": "US/Pacific"}},
        ignore=["heatmaps_opt_in"],
    )
    shown = desired_to_show(wanted)
    assert [row.id for row in rows] == [1, 2, 3]
    assert [row.differing(shown) for row in rows] == [("slack_incoming_webhook", "timezone"), (), ("slack_incoming_webhook",)]
    assert rows[0].values == {"timezone": "Europe/Vienna", "slack_incoming_webhook": "(another secret)"}
    assert rows[1].values == shown
    assert rows[2].values["slack_incoming_webhook"] is None


@pytest.mark.parametrize("name", sorted(SENSITIVE))
@pytest.mark.parametrize("held", ["abcdefgh", None])
def test_sensitive_settings_may_be_desired_by_their_digest(name: str, held: str | None) -> None:
    value: Any = {"key": held} if held and name == "conversations_settings" else held
    wanted = {name: digest(name, value)}
    (same, other) = drift_rows(
        [environment(1, **{name: value}), environment(2, **{name: {"key": "x"} if name == "conversations_settings" else "x"})],
        "",
        wanted,
    )
    assert same.differing(desired_to_show(wanted)) == ()
    assert other.differing(desired_to_show(wanted)) == (name,)
    assert "abcdefgh" not in repr((same, other, desired_to_show(wanted)))


def test_true_is_not_one() -> None:
    row = DriftRow(host="", id=1, name="", values={"a": True, "b": {"x": 1, "y": 2}})
    assert row.differing({"a": 1, "b": {"y": 2, "x": 1}, "c": 3}) == ("a",)


def test_counts() -> None:
    report: Report = sample(200)
    assert sum(report.counts.values()) == 200
    assert list(report.counts) == list(get_args(Status))


@pytest.fixture
async def resumed(tmp_path: Path) -> tuple[BulkReport[Any], Plan, str]:
    """A run of five that was stopped after two and resumed: one was as desired, and one fails."""
    settings, journal = TeamSettings(timezone="Asia/Tokyo"), tmp_path / "run.db"
    async with Sandbox(5) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(settings, sandbox.environment_ids)
        await environments.update(1, settings)

        def stop(event: Event) -> None:
            if isinstance(event, ItemFinished) and event.environment_id == 3:
                first.stop()

        first = environments.with_options(hooks=[stop]).apply(plan, journal=journal, concurrency=1)
        await first
        sandbox.answer_next("update", 403)
        return await environments.apply(plan, journal=journal, concurrency=1), plan, environments.host


async def test_the_report_of_a_resumed_run_shows_the_whole_run(resumed: tuple[BulkReport[Any], Plan, str]) -> None:
    report, plan, host = resumed
    assert {one.ref.id: (one.status, one.reason, one.attempts > 0) for one in report} == {
        1: ("unchanged", "already done", False),
        2: ("succeeded", "done earlier", False),
        3: ("succeeded", "done earlier", False),
        4: ("failed", None, True),
        5: ("succeeded", None, True),
    }
    assert report.counts == {"succeeded": 3, "unchanged": 1, "failed": 1, "unknown": 0, "skipped": 0}
    assert report.done_earlier == 2
    assert "3 succeeded (2 done earlier), 1 unchanged, 1 failed" in str(report)
    rows = rows_of(report, host, plan=plan)
    assert [(row.status, row.reason, len(row.changes)) for row in rows] == [
        ("unchanged", "already done", 1),
        ("succeeded", "done earlier", 1),
        ("succeeded", "done earlier", 1),
        ("failed", None, 1),
        ("succeeded", None, 1),
    ]
    assert not any(row.needs_attention for row in rows if row.status == "succeeded")


def test_the_forms_of_a_report_agree_after_a_resume(resumed: tuple[BulkReport[Any], Plan, str], tmp_path: Path) -> None:
    report, plan, host = resumed
    text = dict[str, str]()
    for form in ("json", "csv", "md", "html"):
        file = tmp_path / f"report.{form}"
        write_report(report, file, host=host, plan=plan)
        text[form] = file.read_text(encoding="utf-8")
    whole = json.loads(text["json"])
    assert (whole["counts"], whole["done_earlier"]) == (report.counts, 2)
    lines = list(csv.DictReader(io.StringIO(text["csv"])))
    rows = [(row["status"], row["reason"] or "") for row in whole["rows"]]
    assert [(line["status"], line["reason"]) for line in lines] == rows
    assert "| succeeded | 3 |\n| of them done earlier | 2 |\n| unchanged | 1 |" in text["md"]
    assert "done, 2 of them earlier" in text["html"]


@pytest.mark.parametrize("keep", ["values", "outcomes", "counts"])
async def test_what_was_done_earlier_is_counted_whatever_is_kept(keep: Any, tmp_path: Path) -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        for expected in (0, 2):
            ids = sandbox.environment_ids[: 2 if not expected else 3]
            each = environments.each(ids, journal=tmp_path / "run.db", keep=keep)
            report = await each.update(TeamSettings(timezone="Asia/Tokyo"))
            assert report.done_earlier == expected
            assert report.counts["succeeded"] == len(ids)
        merged = BulkReport.merge({"one": report, "other": report})
        assert (merged.done_earlier, merged.counts["succeeded"]) == (4, 6)

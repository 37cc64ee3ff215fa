"""Plan, apply and undo, through the public names, on the sandbox."""

import json
import random
import stat
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import attrs
import msgspec
import pytest
from anyio import to_thread

from aioposthog_env import (
    ConfigurationError,
    EnvironmentRef,
    Journal,
    JournalError,
    Plan,
    RateLimit,
    RateLimiter,
    Sandbox,
    SettingsNotAppliedError,
    StateChangedError,
    TeamSettings,
)
from aioposthog_env.api.era import Era
from aioposthog_env.bulk.plan import FieldChange, differences
from aioposthog_env.models.configs import NetworkPayloadCaptureConfig
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from tests.conftest import connect, logged_in


def calls(sandbox: Sandbox) -> Counter[str | None]:
    return Counter(call.endpoint for call in sandbox.calls)


def old(plan: Plan, seconds: float = 3600) -> Plan:
    """The same plan, made earlier."""
    before = timedelta(seconds=seconds)
    return attrs.evolve(plan, environments=tuple(attrs.evolve(one, read_at=one.read_at - before) for one in plan))


WANTED = TeamSettings(anonymize_ips=True, session_recording_sample_rate=0.4, app_urls=["https://a.example"])


async def test_a_plan_costs_one_read_each_and_changes_nothing() -> None:
    async with Sandbox(20, lacking_anonymize_ips=7) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True), environments.list())
        assert len(plan) == 20
        assert len(plan.changing) == 7
        assert calls(sandbox) == {"current_key": 1, "list": 1, "retrieve": 20}
        assert not sandbox.effects
        one = plan.changing[0]
        assert [(change.name, change.before, change.after) for change in one.changes] == [("anonymize_ips", False, True)]
        assert one.updated_at is not None
        assert str(plan).startswith("7 of 20 environments would change.\n  anonymize_ips: 7\n")
        assert "anonymize_ips: false -> true" in str(plan)
        assert [one.ref.id for one in plan] == sorted(sandbox.environment_ids)


async def test_apply_sends_one_write_for_each_change_and_none_otherwise() -> None:
    async with Sandbox(20, lacking_anonymize_ips=7) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True, timezone="UTC"), sandbox.environment_ids)
        sandbox.calls.clear()
        report = await environments.apply(plan)
        report.raise_for_failures()
        assert calls(sandbox) == {"update": 7}
        assert report.counts == {"succeeded": 7, "unchanged": 13, "failed": 0, "unknown": 0, "skipped": 0}
        assert all(sandbox.effects["setting timezone", id] == 0 for id in sandbox.environment_ids)
        again = await environments.plan(TeamSettings(anonymize_ips=True), sandbox.environment_ids)
        assert not again.changing
        sandbox.calls.clear()
        await environments.apply(again)
        assert not sandbox.calls


async def test_by_id_by_function_and_by_environment() -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan({1: TeamSettings(timezone="Europe/Berlin"), 3: TeamSettings(timezone="UTC")})
        assert [(one.ref.id, len(one.changes)) for one in plan] == [(1, 1), (3, 0)]
        plan = await environments.plan(lambda one: TeamSettings(name=f"{one.name} (old)"), [1, 2])
        assert [one.changes[0].after for one in plan] == ["Environment 0001 (old)", "Environment 0002 (old)"]


@pytest.mark.parametrize(
    ("desired", "refs", "words"),
    [
        (TeamSettings(), [1], "no setting is set"),
        (TeamSettings(anonymize_ips=None), [1], "null is not taken"),  # type: ignore[arg-type]
        (TeamSettings(anonymize_ips=True), None, "Name the environments"),
        ({1: {"anonymize_ips": True}}, None, "given as TeamSettings"),
        ({1: TeamSettings(timezone="UTC")}, [1, 2], "no settings for environment 2"),
        ({1: TeamSettings(timezone=None)}, None, "null is not taken"),  # type: ignore[arg-type]
    ],
)
async def test_bad_input_is_refused(desired: Any, refs: Any, words: str) -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        with pytest.raises(ConfigurationError, match=words):
            await environments.plan(desired, refs)
        assert not sandbox.effects


async def test_what_cannot_be_read_is_said_and_left(tmp_path: Path) -> None:
    async with Sandbox(2, lacking_anonymize_ips=2) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True), [1, 2, EnvironmentRef(99, 1)])
        assert [ref.id for ref, _ in plan.unreadable] == [99]
        await to_thread.run_sync(plan.save, tmp_path / "plan.json")
        assert await to_thread.run_sync(Plan.load, tmp_path / "plan.json") == plan
        assert "99 could not be read: retrieve of environment 99" in str(plan)
        report = await environments.apply(plan)
        (skipped,) = report.skipped
        assert (skipped.ref.id, skipped.reason) == (99, "unreadable")
        assert len(report.succeeded) == 2


# Merge rules and notes


async def noted(sandbox: Sandbox, settings: TeamSettings, **options: Any) -> list[tuple[str, str]]:
    async with connect(sandbox, **options) as environments:
        plan = await environments.plan(settings, [1])
        return [(note.name, note.kind) for _, note in plan.notes]


async def test_merged_objects_differ_by_what_is_asked_and_say_what_they_keep() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        sandbox.environment(1).settings["survey_config"] = {"a": 1, "b": 2}
        plan = await environments.plan(TeamSettings(survey_config={"a": 1}), [1])
        assert not plan.changing
        assert "survey_config keeps b: PATCH cannot remove a key" in str(plan)
        assert [(note.name, note.kind) for _, note in plan.notes] == [("survey_config", "keeps keys")]
        plan = await environments.plan(TeamSettings(survey_config={"a": 3}), [1])
        assert "\n  ! survey_config keeps b: PATCH" in str(plan)
        await environments.apply(plan)
        assert sandbox.environment(1).settings["survey_config"] == {"a": 3, "b": 2}


async def test_replaced_objects_differ_by_all_they_hold() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        name = "session_recording_network_payload_capture_config"
        sandbox.environment(1).settings[name] = {"recordHeaders": True, "recordBody": True}
        headers = NetworkPayloadCaptureConfig(record_headers=True)
        plan = await environments.plan(TeamSettings(session_recording_network_payload_capture_config=headers), [1])
        assert plan.changing
        await environments.apply(plan)
        assert sandbox.environment(1).settings[name] == {"recordHeaders": True}


@pytest.mark.parametrize(("era", "differs"), [("2025-11", True), ("current", False)])
async def test_modifiers_were_replaced_and_are_merged(era: Any, differs: bool) -> None:
    async with Sandbox(1, era=era) as sandbox, connect(sandbox) as environments:
        sandbox.environment(1).settings["modifiers"] = {"a": 1, "b": 2}
        plan = await environments.plan(TeamSettings(modifiers={"a": 1}), [EnvironmentRef(1, 1)])
        assert bool(plan.changing) is differs
        assert bool(plan.notes) is not differs


async def test_what_only_admins_may_change_is_noted_for_others() -> None:
    async with Sandbox(1) as sandbox:
        settings = TeamSettings(timezone="Europe/Berlin", surveys_opt_in=True)
        assert await noted(sandbox, settings) == []
        assert await noted(sandbox, settings, user=sandbox.member) == [("timezone", "admins only")]


@pytest.mark.parametrize(
    ("era", "admins_only"),
    [
        (Era.B, ["receive_org_level_activity_logs"]),
        (Era.C, ["receive_org_level_activity_logs", "timezone"]),
        (Era.D, ["receive_org_level_activity_logs", "timezone"]),
    ],
)
def test_since_when_only_admins_may_change_most_settings(era: Era, admins_only: list[str]) -> None:
    wanted = TeamSettings(timezone="Europe/Berlin", surveys_opt_in=True, receive_org_level_activity_logs=True)
    shown = TeamSettings(timezone="UTC", surveys_opt_in=False, receive_org_level_activity_logs=False)
    for level, expected in ((1, admins_only), (8, [])):
        environment = Environment(id=1, name="x", settings=shown, effective_membership_level=level)
        plan = differences(wanted, environment, era, datetime(2026, 1, 1, tzinfo=UTC))
        assert [note.name for note in plan.notes if note.kind == "admins only"] == expected
        assert [change.name for change in plan.changes] == sorted(unstructure(wanted))
        as_wanted = attrs.evolve(environment, settings=wanted)
        assert not differences(wanted, as_wanted, era, datetime(2026, 1, 1, tzinfo=UTC)).notes


@pytest.mark.parametrize(("era", "end"), [(Era.D, "leaving it out"), (Era.UNKNOWN, ", if this server merges objects")])
def test_what_an_unknown_server_does_with_keys_is_not_stated_as_a_fact(era: Era, end: str) -> None:
    environment = Environment(id=1, name="x", settings=TeamSettings(survey_config={"a": 1, "b": 2}))
    plan = differences(TeamSettings(survey_config={"a": 1}), environment, era, datetime(2026, 1, 1, tzinfo=UTC))
    (note,) = plan.notes
    assert note.text.endswith(end)


def test_a_long_value_is_shown_shortened() -> None:
    def shown(value: str) -> str:
        return str(FieldChange(name="name", before=None, after=value, digest=None, desired="", sensitive=False))

    assert shown("x" * 58) == f'name: (not shown) -> "{"x" * 58}"'
    assert shown("x" * 59) == f'name: (not shown) -> "{"x" * 58}…'
    assert str(FieldChange(name="name", before=1, after=2, digest="d", desired="")) == "name: 1 -> 2"


async def test_keys_that_the_server_keeps_for_itself_and_settings_it_does_not_show_are_noted() -> None:
    async with Sandbox(1) as sandbox:
        settings = TeamSettings(conversations_settings={"slack_team_id": "x", "color": "red"})
        assert ("conversations_settings", "read-only") in await noted(sandbox, settings)
        assert await noted(sandbox, TeamSettings(experiment_recalculation_time="02:00")) == [
            ("experiment_recalculation_time", "not shown")
        ]
        theme = await noted(sandbox, TeamSettings(default_data_theme=7))
        assert theme == [("default_data_theme", "may read back otherwise")]


# Saving


async def test_a_saved_plan_does_the_same_and_holds_no_secret(tmp_path: Path) -> None:
    hook = "https://hooks.slack.com/services/T000/B000/planned-secret-value"
    async with Sandbox(4, era="2025-11", lacking_anonymize_ips=2) as sandbox, connect(sandbox) as environments:
        sandbox.environment(1).settings["slack_incoming_webhook"] = "https://hooks.slack.com/services/T000/B000/old-secret"
        wanted = TeamSettings(anonymize_ips=True, slack_incoming_webhook=hook)
        plan = await environments.plan(wanted, sandbox.environment_ids)
        plan.save(tmp_path / "plan.json")
        text = (tmp_path / "plan.json").read_text()
        assert not [secret for secret in (hook, "old-secret", *sandbox.secrets) if secret in text + str(plan) + repr(plan)]
        loaded = Plan.load(tmp_path / "plan.json", secrets=TeamSettings(slack_incoming_webhook=hook))
        assert loaded == plan
        assert loaded.digest() == plan.digest()
        with pytest.raises(ConfigurationError, match=r"does not hold slack_incoming_webhook.*secrets="):
            environments.apply(Plan.load(tmp_path / "plan.json"))
        (await environments.apply(loaded)).raise_for_failures()
        assert sandbox.environment(1).settings["slack_incoming_webhook"] == hook


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": "x"}', '{"format": 2, "host": 3}', "\xff", "[" * 100_000]
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match="holds no plan"):
        Plan.load(tmp_path / "plan.json")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Plan.load(tmp_path / "none.json")


HOOK = "https://hooks.slack.com/services/T000/B000/"


async def test_another_secret_is_another_plan(tmp_path: Path) -> None:
    path, journal = tmp_path / "plan.json", tmp_path / "run.db"
    async with Sandbox(2, era="2025-11") as sandbox, connect(sandbox) as environments:
        one, two = (TeamSettings(slack_incoming_webhook=f"{HOOK}{name}") for name in ("one", "two"))
        plan, other = await environments.plan(one, [1, 2]), await environments.plan(two, [1, 2])
        assert plan.digest() != other.digest()
        await environments.apply(plan, journal=journal)
        with pytest.raises(JournalError, match="another plan"):
            await environments.apply(other, journal=journal)
        plan.save(path)
        with pytest.raises(ConfigurationError, match="slack_incoming_webhook that is given for environment 1 is not the one"):
            Plan.load(path, secrets=two)
        assert Plan.load(path, secrets=one) == plan


async def test_secrets_of_each_environment(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    async with Sandbox(2, era="2025-11") as sandbox, connect(sandbox) as environments:
        wanted = {id: TeamSettings(slack_incoming_webhook=f"{HOOK}{id}", timezone="Europe/Berlin") for id in (1, 2)}
        plan = await environments.plan(wanted)
        plan.save(path)
        with pytest.raises(ConfigurationError, match="for environment 2 is not the one that was planned"):
            Plan.load(path, secrets=wanted[1])
        with pytest.raises(ConfigurationError, match="does not hold slack_incoming_webhook"):
            environments.apply(Plan.load(path, secrets={1: wanted[1]}))
        loaded = Plan.load(path, secrets=wanted)
        assert loaded == plan
        (await environments.apply(loaded)).raise_for_failures()
        assert [sandbox.environment(id).settings["slack_incoming_webhook"] for id in (1, 2)] == [f"{HOOK}1", f"{HOOK}2"]


async def test_a_plan_that_was_edited_or_is_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        (await environments.plan(TeamSettings(timezone="Europe/Berlin"), [1])).save(path)
    text = path.read_text()
    edits = [
        ("Europe/Berlin", "Europe/Paris"),
        ('"before": "UTC"', '"before": "Asia/Tokyo"'),
        ('"environment": 1', '"environment": 2'),
        ('"name": "Environment 0001"', '"name": "Another"'),
        ('"checksum"', '"sum"'),
        ('"checksum": "', '"checksum": "0'),
    ]
    for old, new in edits:
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigurationError, match=r"was changed after it was saved\. Make a new plan"):
            Plan.load(path)
    path.write_text(json.dumps(msgspec.json.decode(text), indent=8, sort_keys=True))  # laid out otherwise it is the same
    assert len(Plan.load(path).changing) == 1
    path.write_text(text.replace('"format": 2', '"format": 1'))
    with pytest.raises(ConfigurationError, match=r"another version of this library \(format 1.*Make a new plan"):
        Plan.load(path)
    with pytest.raises(ValueError, match="another format"):
        Plan.from_json(msgspec.json.decode(path.read_bytes()))


async def test_saving_is_all_or_nothing_and_for_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [1])
    path.write_text("the plan before")
    path.chmod(0o644)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(ConfigurationError, match=r"plan\.json cannot be written: No space left on device"):
            plan.save(path)
    assert path.read_text() == "the plan before"
    plan.save(path)
    assert Plan.load(path) == plan
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = tmp_path / "link.json"
    link.symlink_to(path)
    path.write_text("what another user wants to have replaced")
    with pytest.raises(
        ConfigurationError, match="symbolic link, which another user may have planted; give the path of the file"
    ):
        plan.save(link)
    assert path.read_text() == "what another user wants to have replaced"
    assert link.is_symlink()
    assert {one.name for one in tmp_path.iterdir()} == {"plan.json", "link.json"}
    for nowhere in (tmp_path, tmp_path / "none" / "plan.json", "/dev/null"):
        with pytest.raises(ConfigurationError, match="cannot be written"):
            plan.save(nowhere)


async def test_nothing_that_a_server_says_reaches_the_terminal_raw() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, routes="project") as environments:
        sandbox.environment(1).settings["survey_config"] = {"\x1b[2Jkey": 1}
        sandbox.environment(1).settings["name"] = "\x1b[2J"
        answer = {"type": "invalid_request", "code": "not_found", "detail": "\x1b[2Jno", "attr": None}
        sandbox.answer_next("retrieve", 404, answer, times=1)
        for wanted in (TeamSettings(survey_config={"a": 1}), TeamSettings(survey_config={})):
            text = str(await environments.plan(wanted, [1, 2]))
            assert "\x1b" not in text
        assert "1 ! survey_config keeps \ufffd[2Jkey: PATCH" in text


async def test_a_plan_of_another_host_is_refused() -> None:
    async with Sandbox(1) as sandbox, Sandbox(1) as other, connect(sandbox) as here, connect(other) as there:
        plan = await here.plan(TeamSettings(timezone="UTC"), [1])
        with pytest.raises(ConfigurationError, match="made at"):
            there.apply(plan)


# Apply


async def test_an_old_plan_is_held_against_the_environment_first() -> None:
    async with Sandbox(3, lacking_anonymize_ips=3) as sandbox, connect(sandbox, routes="project") as environments:
        plan = old(await environments.plan(TeamSettings(anonymize_ips=True, timezone="Europe/Berlin"), [1, 2, 3]))
        sandbox.environment(1).settings["timezone"] = "Asia/Tokyo"  # neither as planned nor as desired
        sandbox.environment(2).settings |= {"timezone": "Europe/Berlin", "anonymize_ips": True}  # as desired
        sandbox.environment(3).settings["name"] = "Renamed"  # not in the plan
        sandbox.calls.clear()
        report = await environments.apply(plan)
        assert {one.ref.id: (one.status, one.reason) for one in report} == {
            1: ("skipped", "stale"),
            2: ("unchanged", "already done"),
            3: ("succeeded", None),
        }
        assert isinstance(report.skipped[0].error, StateChangedError)
        assert calls(sandbox) == {"retrieve": 3, "update": 1}
        assert sandbox.environment(1).settings["timezone"] == "Asia/Tokyo"


async def test_max_age_is_ten_minutes_and_can_be_said() -> None:
    async with Sandbox(1, lacking_anonymize_ips=1) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True), [1])
        for seconds, age, reads in ((590, 600, 0), (610, 600, 1), (-60, 600, 1), (30, 20, 1)):
            sandbox.environment(1).settings["anonymize_ips"] = False
            sandbox.calls.clear()
            await (
                environments.apply(old(plan, seconds)) if age == 600 else environments.apply(old(plan, seconds), max_age=age)
            )
            assert calls(sandbox)["retrieve"] == reads


async def test_what_the_server_ignores_is_a_failure() -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(experiment_recalculation_time="02:00", timezone="Europe/Berlin"), [1])
        (failed,) = (await environments.apply(plan)).failed
        assert isinstance(failed.error, SettingsNotAppliedError)
        assert failed.error.fields == ("experiment_recalculation_time",)


async def test_verify_reads_again() -> None:
    async with Sandbox(2, lacking_anonymize_ips=2) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True), [1, 2])
        lie = {"id": 1, "name": "Environment 0001", "anonymize_ips": True}
        sandbox.answer_next("update", 200, lie)
        sandbox.calls.clear()
        report = await environments.apply(plan, verify=True, concurrency=1)
        assert calls(sandbox) == {"update": 2, "retrieve": 2}
        assert [(one.ref.id, one.attempts) for one in report.failed] == [(1, 2)]
        assert [(one.ref.id, one.attempts) for one in report.succeeded] == [(2, 2)]


async def test_a_verification_that_cannot_read_says_that_the_settings_were_changed(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with Sandbox(1) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [1])
        sandbox.answer_next("retrieve", 500, b"x", times=9)
        report = await environments.apply(plan, verify=True, journal=journal, max_age=600)
        (failed,) = report.failed
        assert failed.error is not None
        assert failed.error.action_done
        assert "The settings were changed, and could not be verified" in str(failed.error)
        assert report.remaining() == []
        assert [item.state for item in await Journal(journal).items()] == ["unfinished"]
        sandbox.clear_faults()
        (done,) = await environments.apply(plan, verify=True, journal=journal)
        assert (done.status, done.reason, sandbox.effects["update", 1]) == ("succeeded", "done earlier", 1)
        assert [item.state for item in await Journal(journal).items()] == ["succeeded"]


async def test_a_canary_that_was_skipped_is_no_success_to_go_on_with() -> None:
    async with Sandbox(5) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), sandbox.environment_ids)
        for id in (1, 2):
            await environments.update(id, TeamSettings(timezone="Asia/Tokyo"))
        report = await environments.apply(plan, max_age=0, canary=2)
        assert [one.reason for one in report] == ["stale", "stale", "canary", "canary", "canary"]
        assert isinstance(report.stopped_by, StateChangedError)
        gone = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [99])
        assert (await environments.apply(gone, canary=1)).stopped_by is not None
        # Trying it out stops nothing.
        report = await environments.apply(plan, canary=1, dry_run=True)
        assert [one.reason for one in report] == ["stale", "stale", "dry run", "dry run", "dry run"]
        assert report.stopped_by is None


async def test_a_canary_that_fails_stops_the_rest() -> None:
    async with Sandbox(10, lacking_anonymize_ips=6) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True), sandbox.environment_ids)
        sandbox.answer_next("update", 400, {"type": "validation_error", "code": "x", "detail": "no", "attr": None})
        report = await environments.apply(plan, canary=2)
        assert report.counts == {"succeeded": 1, "unchanged": 0, "failed": 1, "unknown": 0, "skipped": 8}
        assert {one.reason for one in report.skipped} == {"canary"}
        assert isinstance(report.stopped_by, type(report.failed[0].error))
        report = await environments.apply(plan, canary=2)
        assert report.counts == {"succeeded": 6, "unchanged": 4, "failed": 0, "unknown": 0, "skipped": 0}


async def test_a_dry_run_compares_and_changes_nothing(tmp_path: Path) -> None:
    async with Sandbox(6, lacking_anonymize_ips=5) as sandbox, connect(sandbox, routes="project") as environments:
        settings = TeamSettings(anonymize_ips=True, timezone="Europe/Berlin")
        await environments.update(6, settings)
        plan = await environments.plan(settings, [*sandbox.environment_ids, 99])
        await environments.update(1, TeamSettings(timezone="Asia/Tokyo"))
        await environments.update(2, settings)
        sandbox.calls.clear()
        before = dict(sandbox.effects)
        report = await environments.apply(plan, dry_run=True, journal=tmp_path / "run.db")
        assert {one.ref.id: (one.status, one.reason, one.attempts) for one in report} == {
            1: ("skipped", "stale", 1),
            2: ("unchanged", "already done", 1),
            3: ("skipped", "dry run", 1),
            4: ("skipped", "dry run", 1),
            5: ("skipped", "dry run", 1),
            6: ("unchanged", "already done", 0),
            99: ("skipped", "unreadable", 0),
        }
        assert calls(sandbox) == {"retrieve": 5}
        assert sandbox.effects == before
        assert not (tmp_path / "run.db").exists()


async def test_a_dry_run_keeps_the_rate_limit_and_can_be_stopped() -> None:
    async with Sandbox(10) as sandbox, connect(sandbox, routes="project") as unlimited:
        plan = await unlimited.plan(TeamSettings(timezone="Europe/Berlin"), sandbox.environment_ids)
        sandbox.calls.clear()
        limiter = RateLimiter((RateLimit(4, 3_600.0),))
        async with connect(sandbox, routes="project", limiter=limiter, enforce_scopes=False) as environments:
            run = environments.apply(plan, dry_run=True)
            reasons = list[str | None]()
            async with run as outcomes:
                async for outcome in outcomes:
                    reasons.append(outcome.reason)
                    if len(reasons) == 4:
                        run.stop()
        assert reasons == ["dry run"] * 4 + ["stopped"] * 6
        assert calls(sandbox) == {"retrieve": 4}


async def test_with_a_journal_each_environment_is_compared_right_before_its_write(tmp_path: Path) -> None:
    async with Sandbox(3, lacking_anonymize_ips=3) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True, timezone="Europe/Berlin"), [1, 2, 3])
        await environments.update(2, TeamSettings(timezone="Asia/Tokyo"))
        sandbox.calls.clear()
        report = await environments.apply(plan, journal=tmp_path / "run.db")
        assert {one.ref.id: (one.status, one.reason) for one in report} == {
            1: ("succeeded", None),
            2: ("skipped", "stale"),
            3: ("succeeded", None),
        }
        assert calls(sandbox) == {"retrieve": 3, "update": 2}
        assert sandbox.environment(2).settings["timezone"] == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("max_age", "reads"), [(None, 1), (0, 1), (timedelta(0), 1), (600, 0), (timedelta(minutes=10), 0), (20, 1)]
)
async def test_the_age_that_is_given_counts_also_with_a_journal(max_age: Any, reads: int, tmp_path: Path) -> None:
    async with Sandbox(1, lacking_anonymize_ips=1) as sandbox, connect(sandbox, routes="project") as environments:
        plan = old(await environments.plan(TeamSettings(anonymize_ips=True), [1]), 30)
        sandbox.calls.clear()
        (done,) = await environments.apply(plan, journal=tmp_path / "run.db", max_age=max_age)
        assert done.status == "succeeded"
        assert calls(sandbox)["retrieve"] == reads


async def test_stop_after_failures() -> None:
    async with Sandbox(10, lacking_anonymize_ips=10) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(anonymize_ips=True), sandbox.environment_ids)
        sandbox.answer_next("update", 400, {"type": "validation_error", "code": "x", "detail": "no", "attr": None}, times=9)
        report = await environments.apply(plan, stop_after_failures=2, concurrency=1)
        assert (len(report.failed), len(report.skipped)) == (2, 8)


async def test_writes_to_one_environment_go_one_after_the_other() -> None:
    async with Sandbox(2, latency=0.02) as sandbox, connect(sandbox, routes="project") as environments:
        async with anyio.create_task_group() as tasks:
            for zone in ("UTC", "Europe/Berlin", "Asia/Tokyo"):
                tasks.start_soon(environments.update, 1, TeamSettings(timezone=zone))
            tasks.start_soon(environments.update, 2, TeamSettings(timezone="UTC"))
        at = [call.at for call in sandbox.calls if call.environment_id == 1 and call.endpoint == "update"]
        assert all(later - earlier >= 0.019 for earlier, later in pairwise(at))


# The settings' expected


async def test_update_with_expected_acts_once() -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        berlin, utc = TeamSettings(timezone="Europe/Berlin"), TeamSettings(timezone="UTC")
        await environments.update(1, berlin, expected=utc)
        await environments.update(1, berlin, expected=utc)
        assert sandbox.effects["setting timezone", 1] == 1
        assert calls(sandbox)["update"] == 1
        with pytest.raises(StateChangedError, match="Nothing was sent"):
            await environments.update(1, TeamSettings(timezone="Asia/Tokyo"), expected=utc)
        with pytest.raises(ConfigurationError, match="what timezone is to replace"):
            await environments.update(1, berlin, expected=TeamSettings(anonymize_ips=True))
        (outcome,) = await environments.each([1]).update(berlin, expected=utc)
        assert (outcome.status, outcome.reason) == ("unchanged", "already done")


# Undo


def state(sandbox: Sandbox) -> dict[int, dict[str, Any]]:
    found = {one["id"]: one for one in sandbox.snapshot()["environments"]}
    return {id: one["settings"] for id, one in found.items()}


CHOICES: dict[str, list[Any]] = {
    "timezone": ["UTC", "Europe/Berlin", "Asia/Tokyo"],
    "anonymize_ips": [True, False],
    "app_urls": [[], ["https://a.example"], ["https://b.example", "https://c.example"]],
    "session_recording_sample_rate": [None, "0.40", "1.00"],
    "capture_dead_clicks": [None, True, False],
    "test_account_filters": [[], [{"key": "email", "value": "@x"}]],
    "week_start_day": [None, 0, 1],
    "survey_config": [None, {"a": 1, "b": 2}, {"a": 2, "b": 3}],
    "recording_domains": [None, [], ["https://r.example"]],
    "data_attributes": [["data-attr"], ["data-id", "data-x"]],
    "session_recording_minimum_duration_milliseconds": [None, 1000],
}


def random_settings(rng: random.Random) -> dict[str, Any]:
    names = rng.sample(sorted(CHOICES), rng.randint(0, 5))
    return {name: rng.choice(CHOICES[name]) for name in names}


async def test_plan_apply_and_undo_of_500_environments_return_each_to_its_first_state(tmp_path: Path) -> None:
    rng = random.Random(500)
    async with (
        Sandbox(500, throttle=False) as sandbox,
        connect(sandbox, routes="project", limiter=None) as environments,
    ):
        for id in sandbox.environment_ids:
            sandbox.environment(id).settings |= random_settings(rng)
        first = state(sandbox)
        # A key that was never there cannot be taken away again, so objects are asked for with the keys they have.
        wanted = {id: random_settings(rng) for id in sandbox.environment_ids}
        for id, one in wanted.items():
            if first[id]["survey_config"] is not None and one.get("survey_config", 0) is None:
                del one["survey_config"]
        sandbox.calls.clear()
        plan = await environments.plan({id: TeamSettings(**one) for id, one in wanted.items()})
        assert calls(sandbox) - Counter({"current_key": 1}) == {"retrieve": 500}
        sandbox.calls.clear()
        report = await environments.apply(plan, journal=tmp_path / "run.db")
        report.raise_for_failures()
        assert calls(sandbox) == {"retrieve": len(plan.changing), "update": len(plan.changing)}
        assert len(plan.changing) > 300
        for id, one in wanted.items():
            now = sandbox.environment(id).settings
            assert {name: now[name] for name in one} == one
        sandbox.calls.clear()
        undone = await environments.undo(tmp_path / "run.db")
        undone.raise_for_failures()
        assert state(sandbox) == first
        assert calls(sandbox) == {"retrieve": len(plan.changing), "update": len(plan.changing)}
        sandbox.calls.clear()
        again = await environments.undo(tmp_path / "run.db")
        assert again.done_earlier == len(plan.changing)
        assert not sandbox.calls


async def test_undo_leaves_what_somebody_has_changed_since(tmp_path: Path) -> None:
    async with Sandbox(3) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin", anonymize_ips=True, week_start_day=1), [1, 2, 3])
        for id in (1, 2, 3):
            sandbox.environment(id).settings["anonymize_ips"] = True
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin", week_start_day=1), [1, 2, 3])
        await environments.apply(plan, journal=tmp_path / "run.db")
        sandbox.environment(1).settings["timezone"] = "Asia/Tokyo"
        sandbox.environment(2).settings |= {"timezone": "Asia/Tokyo", "week_start_day": None}
        report = await environments.undo(tmp_path / "run.db")
        outcomes = {one.ref.id: one for one in report}
        assert (outcomes[1].status, outcomes[1].not_applied) == ("succeeded", ("timezone",))
        assert (outcomes[2].status, outcomes[2].reason) == ("skipped", "stale")
        assert outcomes[3].status == "succeeded"
        assert [sandbox.environment(id).settings["timezone"] for id in (1, 2, 3)] == ["Asia/Tokyo", "Asia/Tokyo", "UTC"]
        assert [sandbox.environment(id).settings["week_start_day"] for id in (1, 2, 3)] == [0, None, 0]


async def test_undo_says_what_it_cannot_give_back(tmp_path: Path) -> None:
    new, before = "https://hooks.slack.com/services/new-secret-hook", "https://hooks.slack.com/services/old-secret-hook"
    async with Sandbox(2, era="2025-11") as sandbox, connect(sandbox) as environments:
        sandbox.environment(1).settings["slack_incoming_webhook"] = before
        wanted = TeamSettings(timezone="Europe/Berlin", slack_incoming_webhook=new)
        plan = await environments.plan({1: wanted, 2: TeamSettings(slack_incoming_webhook=new)})
        (await environments.apply(plan, journal=tmp_path / "run.db")).raise_for_failures()
        written = (tmp_path / "run.db").read_bytes()
        assert not [secret for secret in (new, before, *sandbox.secrets) if secret.encode() in written]
        report = await environments.undo(tmp_path / "run.db")
        outcomes = {one.ref.id: one for one in report}
        assert (outcomes[1].status, outcomes[1].reason) == ("succeeded", "not kept")
        assert outcomes[1].not_applied == ("slack_incoming_webhook",)
        assert outcomes[2].status == "succeeded"  # there was none before, which is no secret
        assert sandbox.environment(1).settings["slack_incoming_webhook"] == new
        assert sandbox.environment(2).settings["slack_incoming_webhook"] is None


async def test_an_undo_that_leaves_a_key_behind_has_failed_and_says_so_each_time(tmp_path: Path) -> None:
    async with Sandbox(1) as sandbox, connect(sandbox) as environments:
        sandbox.environment(1).settings["survey_config"] = {"a": 1}
        settings = TeamSettings(survey_config={"a": 9, "b": 2}, timezone="Europe/Berlin")
        await environments.each([1], journal=tmp_path / "run.db").update(settings)
        for _ in range(2):
            (failed,) = (await environments.undo(tmp_path / "run.db")).failed
            assert isinstance(failed.error, SettingsNotAppliedError)
            assert failed.error.fields == ("survey_config",)
            assert "keys that PostHog keeps (survey_config: b)" in str(failed.error)
            now = sandbox.environment(1).settings
            assert (now["survey_config"], now["timezone"]) == ({"a": 1, "b": 2}, "UTC")
            assert sandbox.effects["setting survey_config", 1] == 2
        # Somebody takes it out; then nothing is left to do.
        sandbox.environment(1).settings["survey_config"] = {"a": 1}
        assert len((await environments.undo(tmp_path / "run.db")).unchanged) == 1


async def test_what_was_refused_is_not_undone(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    refused = {"type": "authentication_error", "code": "permission_denied", "detail": "no", "attr": None}
    async with Sandbox(3) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [1, 2])
        sandbox.answer_next("update", 403, refused, times=2)
        assert len((await environments.apply(plan, journal=journal)).failed) == 2
        # Somebody sets it by hand.
        await environments.each([1, 2]).update(TeamSettings(timezone="Europe/Berlin"))
        assert not len(await environments.undo(journal))
        # The same after it was found done.
        assert len((await environments.apply(plan, journal=journal, max_age=0)).unchanged) == 2
        assert not len(await environments.undo(journal))
        assert [sandbox.environment(id).settings["timezone"] for id in (1, 2)] == ["Europe/Berlin"] * 2


async def test_what_was_refused_after_a_lost_answer_is_undone(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    refused = {"type": "authentication_error", "code": "permission_denied", "detail": "no", "attr": None}
    tokyo = TeamSettings(timezone="Asia/Tokyo")
    async with Sandbox(3) as sandbox, connect(sandbox, routes="project") as environments:
        await environments.retrieve(1)

        def refuse(event: object) -> None:
            if type(event).__name__ == "AttemptFinished" and getattr(event, "endpoint", "") == "update":
                sandbox.answer_next("update", 403, refused)

        # Lost and then refused, within one call; and in two sessions of the run.
        sandbox.fault("drop_after_effect", "update")
        assert (await environments.with_options(hooks=[refuse]).each([1], journal=journal).update(tokyo)).failed
        sandbox.clear_faults()
        sandbox.fault("drop_after_effect", "update", times=None)
        assert (await environments.each([2], journal=journal).update(tokyo)).failed
        sandbox.clear_faults()
        sandbox.environment(2).settings["anonymize_ips"] = True
        sandbox.answer_next("update", 403, refused)
        assert sandbox.environment(2).settings["timezone"] == "Asia/Tokyo"
        sandbox.environment(2).settings["timezone"] = "UTC"
        assert (await environments.each([2], journal=journal).update(tokyo)).failed
        sandbox.environment(2).settings["timezone"] = "Asia/Tokyo"  # the first one comes late
        (await environments.undo(journal)).raise_for_failures()
        assert [sandbox.environment(id).settings["timezone"] for id in (1, 2)] == ["UTC"] * 2


async def test_what_the_server_did_before_verifying_failed_is_undone(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    refused = {"type": "authentication_error", "code": "permission_denied", "detail": "no", "attr": None}
    async with Sandbox(1) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [1])
        sandbox.answer_next("retrieve", 403, refused)
        assert (await environments.apply(plan, journal=journal, verify=True)).failed
        (await environments.undo(journal)).raise_for_failures()
        assert sandbox.environment(1).settings["timezone"] == "UTC"


async def test_apply_and_undo_again_and_again(tmp_path: Path) -> None:
    journal, berlin = tmp_path / "run.db", TeamSettings(timezone="Europe/Berlin")
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        plan = await environments.plan(berlin, [1, 2])

        def zones() -> list[Any]:
            return [sandbox.environment(id).settings["timezone"] for id in (1, 2)]

        for _ in range(2):
            assert len((await environments.apply(plan, journal=journal)).succeeded) == 2
            assert zones() == ["Europe/Berlin"] * 2
            assert (await environments.apply(plan, journal=journal)).done_earlier == 2
            assert len((await environments.undo(journal)).succeeded) == 2
            assert zones() == ["UTC"] * 2
            assert (await environments.undo(journal)).done_earlier == 2
            counts = {run.name: run.counts for run in await Journal(journal).runs()}
            assert (counts["main"]["undone"], counts["undo main"]["succeeded"]) == (2, 2)
        for _ in range(2):
            assert len((await environments.undo(journal, run="undo main")).succeeded) == 2
            assert zones() == ["Europe/Berlin"] * 2
            assert (await environments.apply(plan, journal=journal)).done_earlier == 2
            assert len((await environments.undo(journal)).succeeded) == 2
            assert zones() == ["UTC"] * 2
        # The undo of the undo of an undo, whose run is an undo again.
        await environments.undo(journal, run="undo main")
        assert len((await environments.undo(journal, run="undo undo main")).succeeded) == 2
        assert zones() == ["UTC"] * 2
        assert (await environments.undo(journal)).done_earlier == 2
        assert len((await environments.apply(plan, journal=journal)).succeeded) == 2
        assert zones() == ["Europe/Berlin"] * 2


async def test_an_undo_in_doubt_lets_the_run_go_on_and_be_undone_again(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with Sandbox(2) as sandbox, connect(sandbox, routes="project") as environments:
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [1])
        await environments.apply(plan, journal=journal)
        sandbox.fault("drop_after_effect", "update", times=None)
        assert (await environments.undo(journal)).failed
        sandbox.clear_faults()
        assert sandbox.environment(1).settings["timezone"] == "UTC"
        assert len((await environments.apply(plan, journal=journal)).succeeded) == 1
        assert sandbox.environment(1).settings["timezone"] == "Europe/Berlin"
        assert len((await environments.undo(journal)).succeeded) == 1
        assert sandbox.environment(1).settings["timezone"] == "UTC"


async def test_an_undo_can_be_undone(tmp_path: Path) -> None:
    async with Sandbox(3, lacking_anonymize_ips=3) as sandbox, connect(sandbox) as environments:
        journal = tmp_path / "run.db"
        await environments.each([1, 2, 3], journal=journal).update(TeamSettings(anonymize_ips=True))
        await environments.undo(journal)
        assert not any(sandbox.environment(id).settings["anonymize_ips"] for id in (1, 2, 3))
        (await environments.undo(journal, run="undo main")).raise_for_failures()
        assert all(sandbox.environment(id).settings["anonymize_ips"] for id in (1, 2, 3))


async def test_what_cannot_be_undone_is_refused(tmp_path: Path) -> None:
    async with Sandbox(1) as sandbox, logged_in(sandbox) as environments:
        with pytest.raises(JournalError, match="There is no journal"):
            await environments.undo(tmp_path / "run.db")
        await environments.each([1], journal=tmp_path / "run.db").rotate_secret_token()
        with pytest.raises(JournalError, match="called rotate_secret_token, which cannot be undone"):
            await environments.undo(tmp_path / "run.db")
        async with Sandbox(1) as other, logged_in(other) as elsewhere:
            await environments.each([1], journal=tmp_path / "b.db").update(TeamSettings(timezone="Asia/Tokyo"))
            with pytest.raises(JournalError, match="changed environments of"):
                await elsewhere.undo(tmp_path / "b.db")


async def test_a_change_whose_answer_was_lost_can_be_undone(tmp_path: Path) -> None:
    async with Sandbox(2) as sandbox, connect(sandbox) as environments:
        await environments.retrieve(1)
        sandbox.fault("drop_after_effect", "update", times=None)
        report = await environments.each([1], journal=tmp_path / "run.db").update(TeamSettings(timezone="Asia/Tokyo"))
        assert report.failed
        sandbox.clear_faults()
        assert sandbox.environment(1).settings["timezone"] == "Asia/Tokyo"
        (await environments.undo(tmp_path / "run.db")).raise_for_failures()
        assert sandbox.environment(1).settings["timezone"] == "UTC"

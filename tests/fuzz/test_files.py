"""Files by chance and by damage: policy files, conditions, plans and journals end in an error of our tree."""

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aioposthog_env import (
    ConfigurationError,
    Environment,
    EnvironmentSummary,
    Journal,
    JournalError,
    Plan,
    PostHogEnvError,
    Sandbox,
    TeamSettings,
    Where,
)
from aioposthog_env.settings_file import SettingsFile
from tests.conftest import connect, logged_in
from tests.fuzz.test_replies import scalars, values
from tests.unit.test_settings_file import POLICY, TOML
from tests.unit.test_where import ENVIRONMENT

bounded = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

JSON: Final = json.dumps(
    {
        "settings": {"anonymize_ips": True, "timezone": "UTC"},
        "overrides": [{"select": {"names": ["staging-*"], "where": "not is_demo"}, "settings": {"surveys_opt_in": True}}],
        "ignore": ["surveys_opt_in"],
    }
)
FORMS: Final = {"yaml": POLICY, "toml": TOML, "json": JSON}
SUMMARY: Final = EnvironmentSummary(id=42, name="Mine")
CRAFTED: Final = (
    *("&a", "*a", "!!python/object:os.system", "<<: *a", "---", "\t", "\x00", "\x1b[2J", "{", "}", "[", "]", ": ", "9" * 5_000),
    *("1e999", ".inf", ".nan", "2026-99-99", "0o7", "'", '"', "\n", "\r", "\u2028", "\ud800", "- ", "? ", "| ", "> ", "%TAG"),
)
crafted = st.sampled_from(CRAFTED)


def changed(text: str, data: st.DataObject) -> str:
    """The text with a piece replaced."""
    at = data.draw(st.integers(0, len(text)))
    upto = data.draw(st.integers(at, min(len(text), at + 30)))
    return text[:at] + data.draw(crafted | st.text(max_size=8)) + text[upto:]


def loaded(path: Path) -> None:
    try:
        file = SettingsFile.load(path)
        file.desired(ENVIRONMENT)
    except PostHogEnvError as error:
        assert "".join(str(error).split("\n")).isprintable()


@pytest.mark.parametrize("form", FORMS)
@bounded
@given(data=st.data())
def test_a_policy_file_of_which_a_part_is_changed(form: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"policy.{form}"
    path.write_bytes(changed(changed(FORMS[form], data), data).encode("utf-8", "surrogatepass"))
    loaded(path)


@bounded
@given(value=values, content=st.binary(max_size=80))
def test_a_policy_file_of_anything(tmp_path: Path, value: Any, content: bytes) -> None:
    for name, held in (("a.json", json.dumps(value).encode()), ("b.yaml", json.dumps(value).encode())):
        (tmp_path / name).write_bytes(held)
        loaded(tmp_path / name)
    for form in FORMS:
        (tmp_path / f"c.{form}").write_bytes(content)
        loaded(tmp_path / f"c.{form}")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a": ', "}"), ('{"settings": ', "}"), ("- ", "")])
@pytest.mark.parametrize("form", FORMS)
def test_a_policy_file_nested_deep(form: str, opening: str, closing: str, tmp_path: Path) -> None:
    path = tmp_path / f"policy.{form}"
    for depth in (500, 100_000):
        path.write_text(opening * depth + "1" + closing * depth)
        with pytest.raises(ConfigurationError):
            SettingsFile.load(path)


def test_a_policy_file_whose_aliases_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    (tmp_path / "policy.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match="aliases"):
        SettingsFile.load(tmp_path / "policy.yaml")


WORDS: Final = (
    *("timezone", "name", "id", "app_urls", "created_at", "anonymize_ips", "secret_api_token", "session_replay_config"),
    *("and", "or", "not", "in", "==", "!=", "<", ">=", "is", "(", ")", "[", "]", ".", ",", "{", "}", ":", ":=", "lambda", "if"),
    *(
        '"UTC"',
        "'x'",
        "null",
        "true",
        "1",
        "1e999",
        "9" * 400,
        "-1",
        "0x10",
        "1j",
        "b'x'",
        "f'{id}'",
        "...",
        "*",
        "**",
        "@",
        "%",
    ),
    *("__class__", "__import__('os')", "\\", "#", ";", "await", "\u202e", "\uff4eame"),
)
conditions = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=14).map(" ".join) | st.text(max_size=40)


@settings(max_examples=200, deadline=None)
@given(
    conditions,
    st.dictionaries(st.sampled_from(["timezone", "name", "app_urls", "session_replay_config", "week_start_day"]), scalars),
)
@example("((((" * 5_000, {})
@example("not " * 20_000 + "anonymize_ips", {})
@example("id == " + "-" * 20_000 + "1", {})
@example("app_urls" + "[0]" * 20_000, {})
@example("a" * 1_000_000, {})
def test_a_condition_of_anything(text: str, given_settings: dict[str, Any]) -> None:
    try:
        where = Where.parse(text)
        for environment in (ENVIRONMENT, SUMMARY, Environment(id=1, name="x", settings=TeamSettings(**given_settings))):
            assert where.holds(environment) in {True, False}
    except PostHogEnvError as error:
        assert "".join(str(error).split("\n")).isprintable()


@pytest.fixture(scope="module")
def saved_plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A plan as it is saved."""
    path = tmp_path_factory.mktemp("plan") / "plan.json"

    async def make() -> None:
        async with Sandbox(3) as sandbox, connect(sandbox) as environments:
            wanted = TeamSettings(timezone="Asia/Tokyo", session_recording_opt_in=True)
            (await environments.plan(wanted, sandbox.environment_ids)).save(path)

    asyncio.run(make())
    return path.read_text()


def plan_of(path: Path) -> None:
    try:
        plan = Plan.load(path)
        str(plan), plan.digest(), plan.notes, plan.changing, json.dumps(plan.to_json())
    except PostHogEnvError as error:
        assert "".join(str(error).split("\n")).isprintable()


@settings(bounded, max_examples=100)
@given(data=st.data())
def test_a_plan_of_which_a_part_is_changed(saved_plan: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(changed(saved_plan, data).encode("utf-8", "surrogatepass"))
    plan_of(path)


@settings(bounded, max_examples=100)
@given(data=st.data())
def test_a_plan_with_another_value_in_it(saved_plan: str, tmp_path: Path, data: st.DataObject) -> None:
    plan = json.loads(saved_plan)
    place: Any = plan
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (place[key] and isinstance(place[key], dict | list)) or data.draw(st.integers(0, 4)) == 0:
            break
        place = place[key]
    place[key] = data.draw(values)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    plan_of(tmp_path / "plan.json")
    # And by somebody who makes it fit.
    with contextlib.suppress(msgspec.MsgspecError, OverflowError, UnicodeEncodeError):
        plan.pop("checksum", None)
        content = msgspec.json.decode(json.dumps(plan))
        checksum = hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
        (tmp_path / "plan.json").write_text(json.dumps(plan | {"checksum": checksum}))
        plan_of(tmp_path / "plan.json")


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_plan_nested_deep(depth: int, saved_plan: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    for opening, closing in (("[", "]"), ('{"format":', "}"), ('{"environments":[', "]}")):
        path.write_text(opening * depth + "1" + closing * depth)
        with pytest.raises(ConfigurationError):
            Plan.load(path)
    path.write_text(saved_plan.replace('"Asia/Tokyo"', "[" * depth + "1" + "]" * depth))
    with pytest.raises(ConfigurationError):
        Plan.load(path)


@attrs.frozen
class Left:
    """What a killed run leaves, the file and its log; and the file of one that was not killed."""

    main: bytes
    log: bytes
    closed: bytes

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("Left")  # Hypothesis would print every byte


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """A journal as it lies there while its run goes on."""
    path = tmp_path_factory.mktemp("journal") / "run.db"
    log = path.with_name("run.db-wal")

    async def make() -> Left:
        async with Sandbox(6) as sandbox, logged_in(sandbox, routes="project") as environments:
            await environments.each([1, 2], journal=path).update(TeamSettings(timezone="Asia/Tokyo"))
            async with environments.each([1, 2, 3, 4], journal=path, run="tokens").rotate_secret_token(
                sink=nothing
            ) as outcomes:
                async for _ in outcomes:
                    if log.stat().st_size > 20_000:
                        break
                main, written = path.read_bytes(), log.read_bytes()
        return Left(main, written, path.read_bytes())

    return asyncio.run(make())


async def nothing(environment: Environment) -> None:
    """Take it and keep nothing."""


def read_whole(path: Path) -> str:
    """What can be read of a journal, or why it cannot be."""

    async def read() -> str:
        journal = Journal(path)
        runs = await journal.runs()
        for run in runs:
            await journal.items(run.name)
        return f"{len(runs)} runs"

    try:
        return asyncio.run(read())
    except JournalError as error:
        assert str(error).isprintable()
        return "an error"


def laid_out(folder: Path, main: bytes, log: bytes | None) -> Path:
    for file in folder.glob("*"):
        file.unlink()
    path = folder / "run.db"
    path.write_bytes(main)
    if log is not None:
        path.with_name("run.db-wal").write_bytes(log)
    return path


def test_a_journal_that_is_whole(left: Left, tmp_path: Path) -> None:
    assert read_whole(laid_out(tmp_path, left.main, left.log)) == "2 runs"


@settings(bounded, max_examples=60)
@given(data=st.data())
def test_a_journal_whose_log_is_cut_at_any_byte(left: Left, tmp_path: Path, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(left.log)))
    assert read_whole(laid_out(tmp_path, left.main, left.log[:cut])) in {"0 runs", "1 runs", "2 runs", "an error"}


DEEP: Final = "nested 100,000 deep"
COLUMNS: Final = (
    *("project", "state", "intended", "finished", "body", "marks"),
    *("asked", "before", "after", "error", "attempts"),
)


def flipped(content: bytes, data: st.DataObject) -> bytes:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at, size = data.draw(st.integers(0, len(content) - 1)), data.draw(st.sampled_from([1, 2, 8, 600]))
        damaged[at : at + size] = data.draw(st.binary(min_size=1, max_size=1)) * min(size, len(content) - at)
    return bytes(damaged)


@settings(bounded, max_examples=60)
@given(data=st.data())
def test_a_journal_that_is_damaged(left: Left, tmp_path: Path, data: st.DataObject) -> None:
    which = data.draw(st.sampled_from(["main", "log", "both", "main cut", "main alone"]))
    main = flipped(left.main, data) if which in {"main", "both", "main alone"} else left.main
    main = main[: data.draw(st.integers(0, len(main)))] if which == "main cut" else main
    log = None if which == "main alone" else flipped(left.log, data) if which in {"log", "both"} else left.log
    read_whole(laid_out(tmp_path, main, log))


@settings(bounded, max_examples=40)
@given(
    column=st.sampled_from(COLUMNS),
    value=scalars | values.map(json.dumps),
)
@example(column="marks", value=DEEP)
@example(column="before", value=DEEP)
@example(column="intended", value=1e300)
@example(column="error", value=b"\xff")
@example(column="state", value="\x1b[2J")
def test_a_journal_that_holds_what_was_never_written(left: Left, tmp_path: Path, column: str, value: Any) -> None:
    path, value = laid_out(tmp_path, left.closed, None), '{"a":' * 100_000 if value == DEEP else value
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
        db.execute("PRAGMA ignore_check_constraints = 1")
        db.execute(f"UPDATE items SET {column} = ?", (value,))
        db.commit()
    read_whole(path)

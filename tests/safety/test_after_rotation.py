"""Once a secret was rotated, nothing that goes wrong after it rotates again, and nothing is lost or told to the wrong ear."""

import asyncio
import gc
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from aioposthog_env import (
    AuthenticationError,
    ConfigurationError,
    Environment,
    Journal,
    Sandbox,
    Secret,
    ServerError,
    SinkError,
    StateChangedError,
    TeamSettings,
)
from aioposthog_env.bulk.sink import Sink
from aioposthog_env.telemetry import AttemptFinished, Event
from tests.conftest import logged_in
from tests.safety.test_rotation import LOOKING, lines, scene, secret_of
from tests.sweep import Sweep

NOBODY = {"type": "authentication_error", "code": "not_authenticated", "detail": "no", "attr": None}


def after_rotation(do: Callable[[], None]) -> Callable[[Event], None]:
    """A hook that does something as soon as a rotation was answered."""

    def hook(event: Event) -> None:
        if isinstance(event, AttemptFinished) and event.endpoint == "rotate_secret_token":
            do()

    return hook


async def states(journal: Path) -> list[str]:
    return [item.state for item in await Journal(journal).items()]


# A verification that fails


async def test_a_verification_that_fails_is_made_up_for_without_rotating(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", list[int]()

    def take(environment: Environment) -> None:
        taken.append(environment.id)

    async with scene(2) as (sandbox, environments):
        first = sandbox.environment(1).secret_api_token
        trouble = after_rotation(lambda: sandbox.fault("502_before_effect", "retrieve", times=None))
        broken = environments.with_options(hooks=[trouble])
        report = await broken.each([1], journal=journal).rotate_secret_token(sink=take, verify=True)
        (failed,) = report.failed
        assert isinstance(failed.error, ServerError)
        assert failed.error.action_done
        assert "was rotated, once, and could not be verified" in str(failed.error)
        assert (taken, report.remaining(), await states(journal)) == ([], [], ["unfinished"])
        assert failed.attempts == 5  # a look, the rotation, and three reads

        # Also where the look of the next run fails, and a lost rotation might be sent again.
        patient = environments.with_options(retry=attrs.evolve(LOOKING, resend_after_settle=True))
        report = await patient.each([1], journal=journal).rotate_secret_token(sink=take, verify=True)
        assert (len(report.failed), report.remaining(), await states(journal)) == (1, [], ["unfinished"])
        assert "An earlier run has done it, and it is not sent again" in str(report.failed[0].error)
        sandbox.clear_faults()

        report = await patient.each([1], journal=journal).rotate_secret_token(sink=take, verify=True)
        assert [(one.status, one.reason) for one in report] == [("succeeded", "done earlier")]
        assert (taken, await states(journal)) == ([1], ["succeeded"])
        assert sandbox.effects["rotate_secret_token", 1] == 1
        assert sandbox.environment(1).secret_api_token_backup == first


async def test_a_credential_that_dies_before_the_verification_stops_the_run(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", list[int]()
    async with scene(3) as (sandbox, environments):
        broken = environments.with_options(hooks=[after_rotation(lambda: sandbox.answer_next("retrieve", 401, NOBODY))])
        run = broken.each([1, 2, 3], journal=journal, concurrency=1)
        report = await run.rotate_secret_token(sink=lambda one: taken.append(one.id), verify=True)
        assert [one.status for one in report] == ["failed", "skipped", "skipped"]
        assert isinstance(report.stopped_by, AuthenticationError)
        assert [ref.id for ref in report.remaining()] == [2, 3]
        again = environments.each([1, 2, 3], journal=journal)
        (await again.rotate_secret_token(sink=lambda one: taken.append(one.id), verify=True)).raise_for_failures()
        assert sorted(taken) == [1, 2, 3]
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3))


async def test_another_secret_than_the_new_one_is_not_handed_over_and_the_error_says_what_happened(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", dict[int, str]()

    def take(environment: Environment) -> None:
        taken[environment.id] = secret_of(environment)

    async with scene(1) as (sandbox, environments):

        def rotate_too() -> None:
            stored = sandbox.environment(1)
            stored.secret_api_token_backup, stored.secret_api_token = stored.secret_api_token, "phs_" + "n" * 40

        meddled = environments.with_options(hooks=[after_rotation(rotate_too)])
        (failed,) = (await meddled.each([1], journal=journal).rotate_secret_token(sink=take, verify=True)).failed
        assert isinstance(failed.error, StateChangedError)
        assert str(failed.error).startswith("rotate_secret_token of environment 1: The secret was rotated, once, and could not")
        assert "may or may not" not in str(failed.error)
        assert (failed.attempts, failed.error.attempts, taken) == (3, 3, {})
        # The secret that is in use now is the one that the services need.
        await environments.each([1], journal=journal).rotate_secret_token(sink=take, verify=True)
        assert taken == {1: "phs_" + "n" * 40}
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_what_is_unfinished_is_never_sent_even_where_the_old_secret_is_back(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with scene(1) as (sandbox, environments):
        stored = sandbox.environment(1)
        before = stored.secret_api_token, stored.secret_api_token_backup
        each = environments.each([1], journal=journal)
        (await each.rotate_secret_token(sink=lambda one: 1 / 0)).failed  # noqa: B018
        stored.secret_api_token, stored.secret_api_token_backup = before
        bold = environments.with_options(retry=attrs.evolve(LOOKING, settle=0.001, resend_after_settle=True))
        report = await bold.each([1], journal=journal).rotate_secret_token(sink=lambda one: None)
        (failed,) = report.failed
        assert "shows a token that this client has replaced" in str(failed.error)
        assert (report.remaining(), await states(journal)) == ([], ["unfinished"])
        assert sandbox.effects["rotate_secret_token", 1] == 1


# The sink


async def test_settings_that_are_ignored_keep_no_secret_from_the_sink(tmp_path: Path) -> None:
    taken: list[int] = []
    async with scene(1) as (_, environments):
        report = await environments.each([1], journal=tmp_path / "run.db").rotate_secret_token(
            settings=TeamSettings(timezone="Europe/Berlin"), sink=lambda one: taken.append(one.id), verify=True
        )
        (done,) = report.succeeded
        assert (taken, done.not_applied, done.attempts) == ([1], ("timezone",), 3)
        assert done.value is not None


async def test_what_was_rotated_before_is_handed_over_when_a_failed_sink_works_again(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", dict[int, str]()
    async with scene(1) as (sandbox, environments):
        secret = (await environments.retrieve(1)).secret_api_token
        assert isinstance(secret, Secret)
        expected = {1: secret.digest()}
        await environments.rotate_secret_token(1)
        each = environments.each([1], journal=journal)
        (failed,) = (await each.rotate_secret_token(expected=expected, sink=lambda one: 1 / 0)).failed
        assert isinstance(failed.error, SinkError)
        assert (failed.attempts, failed.error.endpoint, failed.error.environment_id) == (1, "rotate_secret_token", 1)
        again = environments.each([1], journal=journal)

        def take(environment: Environment) -> None:
            taken[environment.id] = secret_of(environment)

        (await again.rotate_secret_token(expected=expected, sink=take)).raise_for_failures()
        assert taken == {1: sandbox.environment(1).secret_api_token}
        assert sandbox.effects["rotate_secret_token", 1] == 1


async def test_a_secret_that_is_still_to_be_handed_over_waits_for_its_sink(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", list[int]()
    async with scene(3) as (sandbox, environments):
        await environments.each([1], journal=journal).rotate_secret_token(sink=lambda one: 1 / 0)
        sandbox.fault("drop_after_effect", "rotate_secret_token")
        blind = environments.with_options(retry=attrs.evolve(LOOKING, read_back=False))
        assert (await blind.each([2], journal=journal).rotate_secret_token(sink=lambda one: taken.append(one.id))).unknown
        sandbox.calls.clear()

        report = await environments.each([1, 2, 3], journal=journal, concurrency=1).rotate_secret_token()
        assert [(one.status, one.attempts) for one in report] == [("failed", 0), ("unknown", 0), ("succeeded", 2)]
        first, second = report.failed[0].error, report.unknown[0].error
        assert isinstance(first, ConfigurationError)
        assert "has rotated the secret, and its sink has not taken the new one" in str(first)
        assert "Resume the run with sink= again" in str(first)
        assert "may have rotated" in str(second)
        assert (first.environment_id, first.action_done) == (1, True)
        assert {call.environment_id for call in sandbox.calls if call.environment_id is not None} == {3}
        assert await states(journal) == ["unfinished", "unknown", "succeeded"]

        again = environments.each([1, 2, 3], journal=journal)
        (await again.rotate_secret_token(sink=lambda one: taken.append(one.id))).raise_for_failures()
        assert sorted(taken) == [1, 2]
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3))


async def test_a_run_that_never_had_a_sink_goes_on_without_one(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    async with scene(1) as (sandbox, environments):
        trouble = after_rotation(lambda: sandbox.fault("502_before_effect", "retrieve", times=None))
        broken = environments.with_options(hooks=[trouble])
        assert (await broken.each([1], journal=journal).rotate_secret_token(verify=True)).failed
        assert await states(journal) == ["unfinished"]
        sandbox.clear_faults()
        (done,) = await environments.each([1], journal=journal).rotate_secret_token()
        assert (done.status, await states(journal)) == ("succeeded", ["succeeded"])
        assert sandbox.effects["rotate_secret_token", 1] == 1


@pytest.mark.parametrize(
    "name", ["run.db", "run.db-wal", "run.db-shm", "./run.db", "linked/run.db", "linked/run.db-wal", "hard"]
)
@pytest.mark.parametrize("shared", [False, True])
async def test_a_sink_that_is_the_journal_is_refused_before_anything_is_sent(name: str, shared: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    (tmp_path / "linked").symlink_to(tmp_path)
    journal = Journal(path) if shared else path
    async with scene(2) as (sandbox, environments):
        if name == "hard":
            (await environments.each([1], journal=journal).rotate_secret_token()).raise_for_failures()
            (tmp_path / "hard").hardlink_to(path)
        sandbox.calls.clear()
        with pytest.raises(ConfigurationError, match=r"belongs to the journal .* Nothing was sent"):
            await environments.each([1, 2], journal=journal).rotate_secret_token(sink=tmp_path / name)
        assert not sandbox.calls
        (
            await environments.each([1, 2], journal=journal).rotate_secret_token(sink=tmp_path / "secrets.jsonl")
        ).raise_for_failures()
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2))


class Failing(io.FileIO):
    """A file on a disk that is full for one write, and that may not be shortened."""

    fails = 1
    may_be_shortened = True

    def write(self, data: Any, /) -> int:
        if self.fails:
            self.fails -= 1
            return super().write(data[:20])
        return super().write(data)

    def truncate(self, size: int | None = None, /) -> int:
        if not self.may_be_shortened:
            raise PermissionError(1, "Operation not permitted")
        return super().truncate(size)


def rotated(id: int) -> Environment:
    return Environment(id=id, name=f"Environment {id}", secret_api_token=Secret(f"phs_{id:040}"))


async def test_a_line_that_was_written_in_part_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "secrets.jsonl"
    async with Sink(path, "https://eu.posthog.com") as sink:
        await sink.hand_over(rotated(1))
        with Failing(path, "a+b") as file:
            whole, sink._file = sink._file, file  # pyright: ignore[reportPrivateUsage]
            with pytest.raises(SinkError, match="No space left"):
                await sink.hand_over(rotated(2))
            await sink.hand_over(rotated(3))
        sink._file = whole  # pyright: ignore[reportPrivateUsage]
    assert list(lines(path)) == [1, 3]


async def test_a_torn_line_that_cannot_be_taken_back_is_the_last_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "secrets.jsonl"
    async with Sink(path, "https://eu.posthog.com") as sink:
        await sink.hand_over(rotated(1))
        with Failing(path, "a+b") as file:
            file.may_be_shortened = False
            whole, sink._file = sink._file, file  # pyright: ignore[reportPrivateUsage]
            for id in (2, 3):
                with pytest.raises(SinkError, match="Operation not permitted" if id == 2 else "torn line"):
                    await sink.hand_over(rotated(id))
        sink._file = whole  # pyright: ignore[reportPrivateUsage]
    async with Sink(path, "https://eu.posthog.com") as sink:
        await sink.hand_over(rotated(3))
    first, torn, third = path.read_text().splitlines()
    assert [json.loads(line)["environment"] for line in (first, third)] == [1, 3]
    assert len(torn) == 20


class RudeError(Exception):
    """An error of a callable that tells all it knows."""


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (RudeError, "(RudeError)"),
        (lambda words: OSError(5, words), "(Input/output error)"),
        (lambda words: OSError(words), "(OSError)"),
        (ConfigurationError, "(ConfigurationError)"),
        (SinkError, "(SinkError)"),
    ],
)
async def test_no_secret_comes_out_of_a_callable_that_fails(
    make: Callable[[str], Exception], says: str, tmp_path: Path, sweep: Sweep
) -> None:
    def take(environment: Environment) -> None:
        raise make(f"cannot post {secret_of(environment)}")

    async with scene(1) as (sandbox, environments):
        (failed,) = (await environments.each([1], journal=tmp_path / "run.db").rotate_secret_token(sink=take)).failed
        secret = sandbox.environment(1).secret_api_token or "none"
        assert says in str(failed.error)
        error: BaseException | None = failed.error
        assert error is not None
        assert error.__context__ is None
        assert error.__cause__ is None
        assert secret not in str(error) + repr(error) + repr(vars(error))
        assert not any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
    assert all("cannot post" in found for found in sweep.look(None))  # the callable's own error


async def test_no_secret_is_logged_for_a_callable_that_fails_after_it_was_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def take(environment: Environment) -> None:
        time.sleep(0.3)
        raise RuntimeError(secret_of(environment))

    async with scene(1) as (sandbox, environments):
        with anyio.move_on_after(0.15):
            await environments.each([1]).rotate_secret_token(sink=take)
        gc.collect()
        await anyio.lowlevel.checkpoint()
        assert sandbox.effects["rotate_secret_token", 1] == 1
        assert (sandbox.environment(1).secret_api_token or "none") not in caplog.text


# A cancellation that nobody has asked of the run


async def somebody_elses() -> None:
    """Await what somebody has cancelled."""
    task = asyncio.ensure_future(asyncio.sleep(3_600))
    task.cancel()
    await task


async def awaits_it(environment: Environment) -> None:
    await somebody_elses()


def returns_it(environment: Environment) -> object:
    return somebody_elses()


def raises_it(environment: Environment) -> None:
    raise asyncio.CancelledError(secret_of(environment))


async def times_out_and_awaits_it(environment: Environment) -> None:
    with anyio.move_on_after(0.001):
        await anyio.sleep(3_600)
    try:
        async with asyncio.timeout(0.001):
            await anyio.sleep(3_600)
    except TimeoutError:
        await somebody_elses()


@pytest.mark.parametrize("fails", [awaits_it, returns_it, raises_it, times_out_and_awaits_it])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_sink_that_awaits_what_somebody_has_cancelled_fails_like_any_other(
    concurrency: int, fails: Callable[[Environment], Any], tmp_path: Path
) -> None:
    journal, taken = tmp_path / "run.db", list[int]()

    async def take(environment: Environment) -> None:
        if environment.id == 2:
            found = fails(environment)
            if found is not None:
                await found
        taken.append(environment.id)

    async with scene(5) as (sandbox, environments):
        given = fails if concurrency == 1 else take
        report = await environments.each(range(1, 6), journal=journal, concurrency=concurrency).rotate_secret_token(sink=given)
        (failed,) = report.failed
        assert isinstance(failed.error, SinkError)
        assert "(CancelledError)" in str(failed.error)
        assert (len(report), report.stopped_by) == (5, failed.error)
        items = {item.environment: item.state for item in await Journal(journal).items()}
        assert items[failed.ref.id] == "unfinished"
        again = environments.each(range(1, 6), journal=journal)
        (await again.rotate_secret_token(sink=lambda one: taken.append(one.id))).raise_for_failures()
        assert sorted(taken) == [1, 2, 3, 4, 5]
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in range(1, 6))


async def test_a_run_whose_tasks_were_cancelled_behind_its_back_says_so(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", list[int]()

    async def take(environment: Environment) -> None:
        if environment.id == 2:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await anyio.lowlevel.checkpoint()
        taken.append(environment.id)

    async with scene(4) as (sandbox, environments):
        with pytest.raises(RuntimeError, match="1 of the run's tasks were cancelled"):
            await environments.each([1, 2, 3, 4], journal=journal, concurrency=2).rotate_secret_token(sink=take)
        assert sorted(taken) == [1, 3, 4]
        again = environments.each([1, 2, 3, 4], journal=journal)
        (await again.rotate_secret_token(sink=lambda one: taken.append(one.id))).raise_for_failures()
        assert sorted(taken) == [1, 2, 3, 4]
        assert all(sandbox.effects["rotate_secret_token", id] == 1 for id in (1, 2, 3, 4))


async def test_an_error_of_the_source_keeps_no_rotated_secret_from_the_sink(tmp_path: Path) -> None:
    journal, taken = tmp_path / "run.db", list[int]()

    async def refs() -> AsyncIterator[int]:
        yield 1
        yield 2
        await anyio.sleep(0.1)
        raise LookupError("no more can be listed")

    async with scene(2) as (sandbox, environments):
        sandbox.fault("delay_after_effect", "rotate_secret_token", times=2, after=0.3)
        with pytest.raises(LookupError) as caught:
            await environments.each(refs(), journal=journal).rotate_secret_token(sink=lambda one: taken.append(one.id))
        assert "2 succeeded" in "".join(caught.value.__notes__)
        assert (sorted(taken), await states(journal)) == ([1, 2], ["succeeded", "succeeded"])


# Servers that hide the secret


async def test_a_secret_that_the_project_path_hides_is_verified_and_handed_over(tmp_path: Path) -> None:
    path = tmp_path / "secrets.jsonl"
    async with Sandbox(3, era="2025-11") as sandbox, logged_in(sandbox, retry=LOOKING, routes="project") as environments:
        report = await environments.each([1, 2, 3], journal=tmp_path / "run.db").rotate_secret_token(sink=path, verify=True)
        report.raise_for_failures()
        assert lines(path) == {id: sandbox.environment(id).secret_api_token for id in (1, 2, 3)}
        assert secret_of(await environments.rotate_secret_token(1)) == sandbox.environment(1).secret_api_token


@pytest.mark.parametrize("with_sink", [True, False])
async def test_where_nothing_shows_the_secret_nothing_is_sent(with_sink: bool, tmp_path: Path) -> None:
    async with Sandbox(1, era="2025-11") as sandbox, logged_in(sandbox, retry=LOOKING, routes="project") as environments:
        hidden = {"id": 1, "name": "x"}
        sandbox.answer_next("retrieve", 200, hidden, times=2)
        run = environments.each([1], journal=tmp_path / "run.db")
        (failed,) = (
            await run.rotate_secret_token(verify=not with_sink, sink=tmp_path / "secrets.jsonl" if with_sink else None)
        ).failed
        assert isinstance(failed.error, ConfigurationError)
        assert "does not show the secret" in str(failed.error)
        assert not sandbox.effects["rotate_secret_token", 1]


@pytest.mark.parametrize("verify", [True, False])
async def test_a_callable_never_gets_an_environment_without_its_secret(verify: bool, tmp_path: Path) -> None:
    taken: list[Environment] = []
    journal = tmp_path / "run.db"
    async with scene(1) as (sandbox, environments):
        blind = after_rotation(lambda: sandbox.answer_next("retrieve", 200, {"id": 1, "name": "x"}, times=1_000))
        sandbox.answer_next("rotate_secret_token", 200, {"id": 1, "name": "x"}, before_effect=False)
        run = environments.with_options(hooks=[blind]).each([1], journal=journal)
        (outcome,) = await run.rotate_secret_token(sink=taken.append, verify=verify)
        assert outcome.status == "unknown"
        assert (taken, await states(journal)) == ([], ["unknown"])
        sandbox.clear_faults()
        (resumed,) = await environments.each([1], journal=journal).rotate_secret_token(sink=taken.append, verify=verify)
        assert resumed.error is None
        assert [secret_of(one) for one in taken] == [sandbox.environment(1).secret_api_token]
        assert sandbox.effects["rotate_secret_token", 1] == 1

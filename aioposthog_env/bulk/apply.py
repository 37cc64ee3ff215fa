"""Making plans, applying them, and undoing what a journal holds.

**Plan** reads each environment once. **Apply** sends each environment that differs one PATCH with the settings that differ.
Where the run has a journal, or the plan is older than ``max_age``, the environment is read right before its write and compared
with the plan; where one of its settings has been changed since, it is *stale* and skipped. A dry run does the same comparison
and no write. **Undo** reads each environment that a run has changed, and gives back the previous
value of every setting that still is as the run left it.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

import anyio
import attrs

from aioposthog_env.api import calls
from aioposthog_env.api.endpoints import UPDATE
from aioposthog_env.api.routes import place_of
from aioposthog_env.bulk.each import Each, followed
from aioposthog_env.bulk.journal_items import Item, Kept
from aioposthog_env.bulk.outcome import Keep
from aioposthog_env.bulk.plan import EnvironmentPlan, Plan, differences
from aioposthog_env.bulk.queued import TaskQueue
from aioposthog_env.bulk.record import Recording, body_digest, holds, kept
from aioposthog_env.bulk.run import BulkRun, Skip
from aioposthog_env.errors import (
    ConfigurationError,
    JournalError,
    PostHogEnvError,
    SettingsNotAppliedError,
    StateChangedError,
)
from aioposthog_env.models.comparing import digest, digests, kept_keys, not_applied, same
from aioposthog_env.models.converter import structure, unstructure
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.settings import JSONValue, TeamSettings
from aioposthog_env.models.validation import check, problems_of
from aioposthog_env.recovery import BeforeWrite, Comparison, compare_settings
from aioposthog_env.session import PostHogSession, Result
from aioposthog_env.stop import Stop

MAX_AGE: Final = 600.0
"""How old what a plan has read may be, in seconds, where it is applied without a journal and no age is given."""

Desired: TypeAlias = TeamSettings | Mapping[int, TeamSettings] | Callable[[Environment], TeamSettings]
"""The same settings for all environments, those of each by its id, or a function of the environment as it is."""


def by_id(desired: Desired) -> Mapping[int, TeamSettings] | None:
    """The desired settings by id, where they were given so."""
    if isinstance(desired, Mapping):
        return cast("Mapping[int, TeamSettings]", desired)  # type: ignore[redundant-cast]
    return None


async def make_plan(each: Each, session: PostHogSession, desired: Desired) -> Plan:
    """Read each environment once, and say what would have to change.

    Raises:
        ConfigurationError: Settings that no PostHog takes, or none for an environment.
    """
    for settings in (by_id(desired) or {}).values():
        check(settings)
    made_at = datetime.now(UTC)
    found: list[EnvironmentPlan] = []
    unreadable: list[tuple[EnvironmentRef, str]] = []
    async with each.retrieve() as outcomes:
        async for outcome in outcomes:
            environment = outcome.value
            if environment is None:
                unreadable.append((outcome.ref, str(outcome.error)))
                continue
            planned = differences(_desired(desired, environment), environment, session.era, datetime.now(UTC))
            # The way in which the environment was named is the way in which it is called again.
            found.append(attrs.evolve(planned, ref=outcome.ref))
    return Plan(
        host=session.origin,
        made_at=made_at,
        era=session.era,
        environments=tuple(sorted(found, key=lambda one: one.ref.id)),
        unreadable=tuple(sorted(unreadable, key=lambda one: one[0].id)),
    )


def _desired(desired: Desired, environment: Environment) -> TeamSettings:
    if isinstance(desired, TeamSettings):
        return desired
    named = by_id(desired)
    if named is None:
        settings = cast("Callable[[Environment], TeamSettings]", desired)(environment)
        check(settings)
        return settings
    if environment.id not in named:
        raise ConfigurationError(f"desired holds no settings for environment {environment.id}.")
    return named[environment.id]


@attrs.frozen(kw_only=True)
class Applying:
    """How a plan is applied; ``AsyncEnvironments.apply`` describes it."""

    concurrency: int
    max_age: float
    verify: bool
    canary: int
    stop_after_failures: int | None
    dry_run: bool
    keep: Keep
    recording: Recording | None
    queue: TaskQueue | None = None


def apply_plan(session: PostHogSession, plan: Plan, how: Applying) -> BulkRun[Environment]:
    """A run that applies a plan.

    Raises:
        ConfigurationError: The plan belongs to another host, or lacks sensitive values.
    """
    if plan.host != session.origin:
        raise ConfigurationError(f"The plan was made at {plan.host}, and this is {session.origin}. Nothing was sent.")
    if withheld := sorted({name for one in plan for name in one.withheld}):
        raise ConfigurationError(
            f"The plan was loaded from a file, which does not hold {', '.join(withheld)}. Nothing was sent. Give these "
            "settings again: Plan.load(path, secrets=TeamSettings(…))."
        )
    recording = None if how.dry_run else how.recording
    record = None if recording is None else recording.of(session, UPDATE.name, plan.digest())
    queued = None
    if how.queue is not None and not how.dry_run:
        for one in plan.changing:
            how.queue.check(calls.update(one.settings))
        queued = how.queue.run(session, record)
    stop, planned = Stop(), {one.ref.id: one for one in plan}
    reasons = {ref.id: reason for ref, reason in plan.unreadable}

    async def work(ref: EnvironmentRef) -> Result[Environment]:
        one = planned.get(ref.id)
        if one is None:
            raise Skip("unreadable", StateChangedError(f"It could not be read when the plan was made: {reasons[ref.id]}"))
        if not one.changes:
            return _NOTHING_TO_DO
        if how.dry_run:
            return await _tried(session, ref, one, stop)
        before = None if record is None else record.before_write(ref, calls.update(one.settings), _replaced(one))
        call = calls.update(one.settings, expected=one.expected)
        age = (datetime.now(UTC) - one.read_at).total_seconds()
        if 0 <= age < how.max_age and queued is None:
            # However long it then waits to leave; what is in doubt is looked at all the same.
            before = attrs.evolve(before or BeforeWrite(), fresh_until=anyio.current_time() + how.max_age - age)
        try:
            if queued is None:
                result = await session.call(call, place_of(ref), before, stop=stop)
            else:
                result = await queued.call(call, ref, before, stop)
        except StateChangedError as error:
            raise Skip("stale", error, error.attempts, error.waited) from None
        if not how.verify or result.already_done:  # then it has been read just now
            return result
        return await followed(result, _verified(session, ref, one.settings))

    return BulkRun(
        # Those that change come first, so that the canary goes down a pit with something in it.
        [one.ref for one in sorted(plan, key=lambda one: not one.changes)] + [ref for ref, _ in plan.unreadable],
        work,
        concurrency=how.concurrency if queued is None or how.queue is None else how.queue.in_flight,
        stop_after_failures=how.stop_after_failures,
        canary=0 if how.dry_run else how.canary,
        record=record,
        queued=queued,
        stop=stop,
        keep=how.keep,
        endpoint=UPDATE.name,
        hooks=session.options.hooks,
    )


async def _tried(session: PostHogSession, ref: EnvironmentRef, one: EnvironmentPlan, stop: Stop) -> Result[Environment]:
    """What applying a plan would do to an environment, from one read.

    Raises:
        Skip: It would be changed, or it would be skipped as stale.
    """
    seen = await session.call(calls.retrieve(), place_of(ref), stop=stop)
    found = compare_settings(one.settings, one.expected, seen.value.settings, session.era.name)
    if found is Comparison.DONE:
        return attrs.evolve(seen, already_done=True)
    if found is Comparison.ACT:
        raise Skip("dry run", None, seen.attempts, seen.waited)
    error = StateChangedError("A setting that is to be changed has another value by now. Make a new plan.")
    raise Skip("stale", error.about(UPDATE.name, ref.id), seen.attempts, seen.waited)


_FRESH: Final = 1.0
"""How long after it was read an environment is changed without another look, in seconds, where it was read for that."""
_NOTHING_TO_DO: Final = Result(cast("Environment", None), 0, 0.0, already_done=True)


def _replaced(one: EnvironmentPlan) -> Kept:
    """What a plan replaces, as a journal keeps it."""
    replaced: Kept = {}
    for change in one.changes:
        if change.digest is not None:
            hidden = change.sensitive and change.digest != digest(change.name, None)
            replaced[change.name] = {"digest": change.digest} if hidden else {"value": change.before}
    return replaced


async def _verified(session: PostHogSession, ref: EnvironmentRef, settings: TeamSettings) -> Result[Environment]:
    """The environment, read again, with the settings in it.

    Raises:
        PostHogEnvError: It cannot be read; its ``action_done`` is true.
        SettingsNotAppliedError: It does not hold them.
    """
    try:
        seen = await session.call(calls.retrieve(), place_of(ref))
    except PostHogEnvError as failed:
        failed.after("The settings were changed, and could not be verified: the environment could not be read again.")
        raise
    if fields := not_applied(settings, seen.value):
        error = SettingsNotAppliedError(fields=fields, environment=seen.value)
        error.attempts, error.waited = seen.attempts, seen.waited
        raise error.about(UPDATE.name, ref.id)
    return seen


def undo_run(
    session: PostHogSession, recording: Recording, *, concurrency: int, stop_after_failures: int | None, keep: Keep
) -> BulkRun[Environment]:
    """A run that undoes what another run of a journal has changed; it is recorded in the same file."""
    undone, stop = recording.run, Stop()
    record = attrs.evolve(recording, run=f"undo {undone}").of(session, UPDATE.name, body_digest(undone.encode()), undoes=undone)

    async def refs() -> AsyncIterator[EnvironmentRef]:
        for environment, project in record.undone:
            yield EnvironmentRef(environment, project)

    async def work(ref: EnvironmentRef) -> Result[Environment]:
        async with session.alone_with(ref.id):
            return await give_back(ref)

    async def give_back(ref: EnvironmentRef) -> Result[Environment]:
        seen, read_at = await session.call(calls.retrieve(), place_of(ref), stop=stop), anyio.current_time()
        back = _previous(await record.change(ref), record.earlier(ref), seen.value)
        if back.left and not back.values:
            raise _left_behind(back.left, seen, session.era.name).about(UPDATE.name, ref.id)
        if not back.values:
            if back.not_kept:
                words = f"The journal does not hold the previous value of {', '.join(back.not_kept)}: set it by hand."
                raise Skip("not kept", JournalError(words).about(UPDATE.name, ref.id), seen.attempts, seen.waited)
            if back.changed:
                words = f"Somebody has changed {', '.join(back.changed)} since, so it was left as it is."
                raise Skip("stale", StateChangedError(words).about(UPDATE.name, ref.id), seen.attempts, seen.waited)
            earlier = record.earlier(ref)
            given_back = earlier is not None and earlier.in_doubt
            return attrs.evolve(seen, already_done=True, reason="done earlier" if given_back else None)
        call = calls.update(structure(back.values, TeamSettings), expected=digests(seen.value.settings, list(back.values)))
        shown = unstructure(seen.value.settings)
        before = record.before_write(ref, call, kept({name: shown[name] for name in back.values}))
        before = attrs.evolve(before, fresh_until=read_at + _FRESH)
        try:
            result = await followed(seen, session.call(call, place_of(ref), before, alone=True, stop=stop))
        except StateChangedError as error:
            raise Skip("stale", error, error.attempts, error.waited) from None
        now = digests(result.value.settings, list(back.values))
        left = {name: value for name, value in back.values.items() if now.get(name) != digest(name, value)} | back.left
        if left:
            raise _left_behind(left, result, session.era.name).about(UPDATE.name, ref.id)
        return attrs.evolve(
            result, not_applied=tuple(sorted(back.not_kept + back.changed)), reason="not kept" if back.not_kept else None
        )

    return BulkRun(
        refs(),
        work,
        concurrency=concurrency,
        stop_after_failures=stop_after_failures,
        record=record,
        stop=stop,
        keep=keep,
        endpoint=UPDATE.name,
        hooks=session.options.hooks,
    )


@attrs.define
class _Back:
    """What is to be given back to an environment.

    Attributes:
        values: The previous values of settings that are as the run left them.
        not_kept: Settings whose previous value the journal does not hold, or that no PATCH can give back.
        changed: Settings that somebody has changed since.
        left: The previous values of settings that are as an earlier undo had to leave them.
    """

    values: dict[str, JSONValue] = attrs.field(factory=dict[str, JSONValue])
    not_kept: list[str] = attrs.field(factory=list[str])
    changed: list[str] = attrs.field(factory=list[str])
    left: dict[str, JSONValue] = attrs.field(factory=dict[str, JSONValue])


def _left_behind(previous: Mapping[str, JSONValue], result: Result[Environment], era: str) -> SettingsNotAppliedError:
    """The error for settings that are not what they were, although the server has taken the previous values."""
    shown = unstructure(result.value.settings)
    fields = sorted(previous)
    stays = {name: kept_keys(name, previous[name] or {}, shown.get(name), era) for name in fields}
    message = None
    if all(stays.values()):
        keys = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in stays.items())
        message = (
            f"The previous values are back, but for keys that PostHog keeps ({keys}): a key that was added to a merged object "
            "cannot be taken out by leaving it out. Take it out by hand, or let it be."
        )
    error = SettingsNotAppliedError(fields=fields, environment=result.value, message=message)
    error.attempts, error.waited = result.attempts, result.waited
    return error


def _previous(item: Item | None, earlier: Item | None, environment: Environment) -> _Back:
    """What is to be given back.

    Args:
        item: What the run did.
        earlier: What an earlier undo did.
        environment: As it is.
    """
    back, shown = _Back(), unstructure(environment.settings)
    if item is None:
        return back
    before, asked, after = item.before or {}, item.asked or {}, item.after or {}
    left = (earlier and earlier.after) or {}
    back.not_kept += sorted(asked.keys() - before.keys())
    for name, was in before.items():
        now = kept({name: shown.get(name)})[name]
        if now == was or ("value" in was and same(name, was["value"], shown.get(name))):
            continue
        # Where the answer was lost, what was asked for tells whether the value is the run's.
        ours = digest(name, shown.get(name)) == after[name] if name in after else holds(name, asked[name], now)
        if not ours and "value" in was and name in left and digest(name, shown.get(name)) == left[name]:
            back.left[name] = was["value"]
        elif not ours:
            back.changed.append(name)
        elif "value" not in was or problems_of(structure({name: was["value"]}, TeamSettings)):
            back.not_kept.append(name)
        else:
            back.values[name] = was["value"]
    return back

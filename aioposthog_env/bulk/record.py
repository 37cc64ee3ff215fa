"""One bulk run in its journal: what is left of it, the intents of its writes, and its outcomes."""

import hashlib
import os
import time
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import attrs

from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import ROTATE_SECRET_TOKEN, UPDATE
from aioposthog_env.auth import credential_digest
from aioposthog_env.bulk.journal import Identity, Item, Journal, Kept
from aioposthog_env.bulk.outcome import Outcome
from aioposthog_env.errors import JournalError, SettingsNotAppliedError
from aioposthog_env.models.applied import as_asked
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.differences import SENSITIVE, digest, digests
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.recovery import BeforeWrite, Doubt, Marks, marks
from aioposthog_env.session import PostHogSession

MAIN: Final = "main"
"""The run of a file that holds one."""

JournalPath: TypeAlias = str | os.PathLike[str] | Journal
"""A journal by its path, or one that several runs share."""


def kept(values: Mapping[str, JSONValue]) -> Kept:
    """Settings as a journal keeps them: sensitive ones as digests."""
    return {
        name: {"digest": digest(name, value)} if name in SENSITIVE and value is not None else {"value": value}
        for name, value in values.items()
    }


def still_kept(first: Kept | None, asked: Kept | None, now: Kept) -> Kept:
    """The previous values of a write that is tried again.

    Where an earlier try has left its own value, what it replaced is the previous value, and not its own.
    """
    if first is None or asked is None:
        return now
    return {
        name: first[name] if name in first and name in asked and holds(name, asked[name], value) else value
        for name, value in now.items()
    }


def holds(name: str, asked: Mapping[str, JSONValue], now: Mapping[str, JSONValue]) -> bool:
    """Whether a setting has the value that was asked for, both as a journal keeps them."""
    if "value" in asked and "value" in now:
        return as_asked(name, asked["value"], now["value"])
    return asked == now


@attrs.frozen
class Recording:
    """Where runs are to be recorded.

    Attributes:
        journal: The file.
        run: The run's name within it.
        adopt: Go on although the run was begun with another credential.
    """

    journal: JournalPath
    run: str = MAIN
    adopt: bool = False

    def of(self, session: PostHogSession, endpoint: str, body: str, *, undoes: str | None = None) -> "RunRecord":
        """The record of a run of this session, which may undo another run of the file."""
        identity = Identity(host=session.origin, credential=credential_digest(session.credential), endpoint=endpoint, body=body)
        return RunRecord(self.journal, self.run, identity, adopt=self.adopt, undoes=undoes)


_NO_ITEM: Final = Item(
    environment=0,
    project=None,
    state="failed",
    intended=None,
    finished=None,
    body=None,
    marks=None,
    asked=None,
    before=None,
    after=None,
    error=None,
    attempts=0,
)


class RunRecord:
    """A run of a journal, open while the run goes on.

    Attributes:
        rotations: By environment, when a run of the file last rotated its secret, and the digest of the secret since.
        undone: By environment, what the run did that this one undoes.
    """

    def __init__(self, journal: JournalPath, name: str, identity: Identity, *, adopt: bool, undoes: str | None = None) -> None:
        self._journal = journal if isinstance(journal, Journal) else Journal(journal)
        self._name = name
        self._identity = identity
        self._adopt = adopt
        self._undoes = undoes
        self._number = 0
        self.rotations: Mapping[int, tuple[float, str]] = {}
        self.undone: Mapping[int, Item] = {}
        self._items: dict[int, Item] = {}
        self._open: set[int] = set()
        self._asked: dict[int, Collection[str]] = {}

    async def __aenter__(self) -> Self:
        await self._journal.__aenter__()
        try:
            if self._undoes is not None:
                self.undone = {item.environment: item for item in await self._changes_of(self._undoes)}
            self._number, items = await self._journal.begin(self._name, self._identity, adopt=self._adopt)
            self.rotations = await self._journal.rotations()
        except BaseException:
            await self._journal.__aexit__(None, None, None)
            raise
        self._items = {item.environment: item for item in items}
        self._open = {item.environment for item in items if item.in_doubt}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._journal.__aexit__(kind, error, traceback)

    async def _changes_of(self, run: str) -> list[Item]:
        _, found = await self._journal.find(run)
        if found.endpoint != UPDATE.name:
            raise JournalError(f"The run {run!r} called {found.endpoint}, which cannot be undone; changes of settings can.")
        if found.host != self._identity.host:
            raise JournalError(f"The run {run!r} changed environments of {found.host}, and this is {self._identity.host}.")
        return await self._journal.items(run)

    def is_done(self, ref: EnvironmentRef) -> bool:
        """Whether an earlier session of this run has done the environment."""
        item = self._items.get(ref.id)
        return item is not None and item.done

    def before_write(self, ref: EnvironmentRef, call: Call[Any], previous: Kept | None = None) -> BeforeWrite:
        """What has to be done before a call to an environment is sent.

        Args:
            ref: The environment.
            call: The call.
            previous: The settings that it replaces, where they are known without reading them once more.
        """
        item = self._items.get(ref.id)
        doubt = None
        if item is not None and item.in_doubt:
            age = max(0.0, time.time() - (item.intended or 0.0))
            doubt = Doubt(item.marks, age, happened=item.state == "unfinished")

        async def record(seen: Environment | None, before: Marks | None) -> None:
            asked = None if call.asked is None else unstructure(call.asked)
            replaced, first = previous, item or _NO_ITEM
            if seen is not None and asked is not None:
                shown = unstructure(seen.settings)
                replaced = kept({name: shown[name] for name in asked if name in shown})
            await self._journal.intend(
                self._number,
                {
                    "environment": ref.id,
                    "project": ref.project_id,
                    "body": body_digest(call.body),
                    "marks": before,
                    "asked": None if asked is None else kept(asked),
                    "before": None if replaced is None else still_kept(first.before, first.asked, replaced),
                },
            )
            self._open.discard(ref.id)
            if asked is not None:
                self._asked[ref.id] = frozenset(asked)

        return BeforeWrite(record, read=call.asked is not None and previous is None, doubt=doubt)

    async def conclude(self, outcome: Outcome[Any]) -> None:
        """Write down what became of an environment.

        Raises:
            JournalError: It cannot be written; then it stays in doubt.
        """
        if outcome.attempts == 0 and (self.is_done(outcome.ref) or outcome.reason in {"stopped", "canary", "dry run"}):
            return
        await self._journal.conclude(
            self._number,
            {
                "environment": outcome.ref.id,
                "project": outcome.ref.project_id,
                "state": self._state(outcome),
                "after": self._after(outcome),
                "error": None if outcome.error is None else str(outcome.error),
                "attempts": outcome.attempts,
            },
        )

    def _state(self, outcome: Outcome[Any]) -> str:
        if outcome.status == "failed" and outcome.error is not None and outcome.error.action_done:
            return "unfinished"
        # What was in doubt and could not be looked at stays so.
        undecided = outcome.ref.id in self._open and outcome.status in {"failed", "skipped"}
        return self._items[outcome.ref.id].state if undecided else outcome.status

    def _after(self, outcome: Outcome[Any]) -> Mapping[str, str | None] | None:
        """The digests of what the server returned."""
        item, error = self._items.get(outcome.ref.id), outcome.error
        names = self._asked.pop(outcome.ref.id, None) or (item and item.asked)
        value = error.environment if isinstance(error, SettingsNotAppliedError) else outcome.value
        if not isinstance(value, Environment):
            return None
        if self._identity.endpoint == ROTATE_SECRET_TOKEN.name:
            return marks(ROTATE_SECRET_TOKEN, value)
        return digests(value.settings, names) if names else None


def body_digest(body: bytes | None) -> str:
    """A digest of what is sent."""
    return hashlib.sha256(body or b"").hexdigest()

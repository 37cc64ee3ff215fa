"""One bulk run in its journal: what is left of it, the intents of its writes, and its outcomes."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import attrs

from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import DELETE_SECRET_TOKEN_BACKUP, ENDPOINTS, ROTATE_SECRET_TOKEN, UPDATE, Repeat
from aioposthog_env.auth import credential_digest
from aioposthog_env.bulk.journal import Journal
from aioposthog_env.bulk.journal_items import Identity, Item, Kept
from aioposthog_env.bulk.outcome import Outcome, Status
from aioposthog_env.errors import (
    ConfigurationError,
    JournalError,
    OutcomeUnknownError,
    PostHogEnvError,
    SettingsNotAppliedError,
)
from aioposthog_env.models.comparing import SENSITIVE, digest, digests, satisfies
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.recovery import BeforeWrite, Doubt, Marks, marks
from aioposthog_env.session import PostHogSession
from aioposthog_env.stop import StoppedError

T = TypeVar("T")

_RUN_ONCE: Final = frozenset(endpoint.name for endpoint in ENDPOINTS if endpoint.repeat is Repeat.NEVER)
"""The calls that must run only once, by name."""

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
        return satisfies(name, asked["value"], now["value"])
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

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self.journal.path if isinstance(self.journal, Journal) else Path(self.journal)

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
        rotations: By environment, when a run of the file last rotated its secret, and the digest of the secret since. Only
            known to a run that deletes backups.
        undone: The environments, with their projects, that the run may have changed which this one undoes.
        body_of: The digest of what is sent to an environment, where it is not the same for all.
        has_sink: Whether new secrets are handed over.
        key: Tells the run from all others, and is the same whenever it is resumed.
    """

    def __init__(self, journal: JournalPath, name: str, identity: Identity, *, adopt: bool, undoes: str | None = None) -> None:
        self._journal = journal if isinstance(journal, Journal) else Journal(journal)
        self._name = name
        self._identity = identity
        self._adopt = adopt
        self._undoes = undoes
        self._number = 0
        self._another_login = False
        self._undone_number = 0
        self._held: list[str] = []
        self.rotations: Mapping[int, tuple[float, str]] = {}
        self.undone: list[tuple[int, int | None]] = []
        self.body_of: Callable[[EnvironmentRef], str] | None = None
        self.has_sink: bool = False
        self._sink_left_out = False
        self.key: str = ""
        self._done: dict[int, str | None] = {}
        self._unchanged: frozenset[int] = frozenset()
        self._items: dict[int, Item] = {}
        self._open: set[int] = set()
        self._first: set[int] = set()
        self._asked: dict[int, Collection[str]] = {}

    async def __aenter__(self) -> Self:
        # What is to be undone is there already.
        await (self._journal.__aenter__() if self._undoes is None else self._journal.enter_existing())
        try:
            await self._begin()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _begin(self) -> None:
        journal = self._journal
        self._hold(self._name)
        if self._undoes is not None:
            self._hold(self._undoes)
            self._undone_number = await self._changes_of(self._undoes)
        undoes = None if self._undoes is None else self._undone_number
        with contextlib.suppress(JournalError):  # it is new
            self._another_login = (await journal.find(self._name))[1].credential != self._identity.credential
        self._number = await journal.begin(self._name, self._identity, adopt=self._adopt, sink=self.has_sink, undoes=undoes)
        self._sink_left_out = not self.has_sink and await journal.has_sink(self._number)
        self.key = await journal.key(self._number)
        if undoes is not None:
            self.undone = await journal.written(undoes, self._number)
        if self._identity.endpoint == DELETE_SECRET_TOKEN_BACKUP.name:
            self.rotations = await journal.rotations()
        self._done = await journal.done(self._number)
        self._unchanged = await journal.unchanged(self._number)
        self._items = {item.environment: item for item in await journal.not_done(self._number)}
        self._open = {environment for environment, item in self._items.items() if item.in_doubt}

    def _hold(self, name: str) -> None:
        self._journal.hold(name)
        self._held.append(name)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._held:
            self._journal.release(self._held.pop())
        await self._journal.__aexit__(kind, error, traceback)

    async def _changes_of(self, run: str) -> int:
        number, found = await self._journal.find(run)
        if found.endpoint != UPDATE.name:
            raise JournalError(f"The run {run!r} called {found.endpoint}, which cannot be undone; changes of settings can.")
        if found.host != self._identity.host:
            raise JournalError(f"The run {run!r} changed environments of {found.host}, and this is {self._identity.host}.")
        return number

    async def change(self, ref: EnvironmentRef) -> Item | None:
        """What the run did in an environment which this one undoes."""
        return await self._journal.item(self._undone_number, ref.id)

    def earlier(self, ref: EnvironmentRef) -> Item | None:
        """What an earlier session of this run has left to do in an environment."""
        return self._items.get(ref.id)

    def takes_up(self, ref: EnvironmentRef) -> None:
        """What an earlier session has left in doubt is decided now: the queue still has its job, or its outcome."""
        self._open.discard(ref.id)

    def done_as(self, ref: EnvironmentRef) -> Status | None:
        """How an earlier session of this run has done the environment: changed it, or found it as desired. None: not."""
        if not self.is_done(ref):
            return None
        return "unchanged" if ref.id in self._unchanged else "succeeded"

    def is_done(self, ref: EnvironmentRef) -> bool:
        """Whether an earlier session of this run has done the environment.

        Where each has a body of its own, what was done must be what is wanted now. Otherwise it is not, and ``before_write``
        refuses to do something else; what was found as desired, and never sent, is looked at again.
        """
        if ref.id not in self._done or self.body_of is None:
            return ref.id in self._done
        try:
            return self._done[ref.id] == self.body_of(ref)
        except PostHogEnvError:
            return False  # and is raised once more where it becomes the outcome

    def before_write(self, ref: EnvironmentRef, call: Call[Any], previous: Kept | None = None) -> BeforeWrite:
        """What has to be done before a call to an environment is sent.

        Args:
            ref: The environment.
            call: The call.
            previous: The settings that it replaces, where they are known without reading them once more.

        Raises:
            JournalError: An earlier session of this run has sent something else to the environment, or may have.
            ConfigurationError: It has made a secret there, or may have, which is to be handed over, and there is no sink.
        """
        item = self._items.get(ref.id)
        if self._sink_left_out and item is not None and item.in_doubt:
            raise _no_sink(item).about(self._identity.endpoint, ref.id)
        body = body_digest(call.body)
        self._check_body(ref, item, body)
        doubt = None
        if item is not None and item.in_doubt:
            age = max(0.0, time.time() - (item.intended or 0.0))
            doubt = Doubt(item.marks, age, happened=item.state == "unfinished", another_login=self._another_login)

        async def record(seen: Environment | None, before: Marks | None) -> None:
            asked = None if call.asked is None else unstructure(call.asked)
            replaced, first = previous, item or _NO_ITEM
            if first.before is None:
                self._first.add(ref.id)
            if seen is not None and asked is not None:
                shown = unstructure(seen.settings)
                replaced = kept({name: shown[name] for name in asked if name in shown})
            await self._journal.intend(
                self._number,
                {
                    "environment": ref.id,
                    "project": ref.project_id,
                    "body": body,
                    "marks": before,
                    "asked": None if asked is None else kept(asked),
                    "before": None if replaced is None else still_kept(first.before, first.asked, replaced),
                },
            )
            self._open.discard(ref.id)
            if asked is not None:
                self._asked[ref.id] = frozenset(asked)

        return BeforeWrite(record, read=call.asked is not None and previous is None, doubt=doubt)

    def _check_body(self, ref: EnvironmentRef, item: Item | None, body: str) -> None:
        sent = self._done.get(ref.id) if item is None else item.body if item.in_doubt else None
        if self.body_of is not None and sent is not None and sent != body:
            raise JournalError(
                f"The run {self._name!r} of the journal has sent other settings to this environment, or may have. Nothing was "
                "sent to it. Resume it with the function that it was begun with, or name another run."
            ).about(self._identity.endpoint, ref.id)

    def undecided(self, outcome: Outcome[T]) -> Outcome[T]:
        """Return the outcome of an environment whose call an earlier session may have made, and that was not looked at now.

        A failed or skipped environment may be tried again by a new run, and this one must not be: the call would run twice.
        """
        ref, error = outcome.ref, outcome.error
        if ref.id not in self._open or outcome.status not in {"failed", "skipped"} or self._identity.endpoint not in _RUN_ONCE:
            return outcome
        why = "the run was stopped first" if error is None else error.message
        resume = "Resume the run with its journal; do not repeat the call by hand."
        known: PostHogEnvError
        if self._items[ref.id].state == "unfinished":
            if error is not None and error.action_done:
                return outcome
            known = PostHogEnvError(
                f"An earlier session has made this call, and what follows it is left to do. {resume} Now: {why}"
            )
            known.action_done = True
            return attrs.evolve(outcome, status="failed", reason=None, error=known.about(self._identity.endpoint, ref.id))
        seen = ("an earlier run may have sent it", f"it could not be looked at: {why}")
        known = OutcomeUnknownError(f"An earlier session may have made this call. {resume} Now: {why}", observations=seen)
        return attrs.evolve(outcome, status="unknown", reason=None, error=known.about(self._identity.endpoint, ref.id))

    def changes_with(self, outcome: Outcome[Any]) -> bool:
        """Return whether an outcome is news: not that of an environment that was done before, or never begun.

        A job that was withdrawn from its queue is news, because its intent was recorded.
        """
        withdrawn = isinstance(outcome.error, StoppedError) and outcome.error.no_effect
        untouched = outcome.ref.id in self._done or outcome.reason in {"stopped", "canary", "dry run"}
        return withdrawn or outcome.attempts > 0 or not untouched

    async def conclude(self, outcome: Outcome[Any]) -> None:
        """Write down what became of an environment.

        Raises:
            JournalError: It cannot be written; then it stays in doubt.
        """
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
            nothing_done=self._nothing_done(outcome),
        )

    def _state(self, outcome: Outcome[Any]) -> str:
        if outcome.status == "failed" and outcome.error is not None and outcome.error.action_done:
            return "unfinished"
        # What was in doubt and could not be looked at stays so.
        undecided = outcome.ref.id in self._open and outcome.status in {"failed", "skipped"}
        return self._items[outcome.ref.id].state if undecided else outcome.status

    def _nothing_done(self, outcome: Outcome[Any]) -> bool:
        """Whether what was intended certainly has not happened, neither now nor at an earlier try."""
        first, error = outcome.ref.id in self._first, outcome.error
        self._first.discard(outcome.ref.id)
        # An error of another call came after the write.
        return first and error is not None and error.no_effect and error.endpoint == self._identity.endpoint

    def _after(self, outcome: Outcome[Any]) -> Mapping[str, str | None] | None:
        """The digests of what the server returned."""
        item, error = self._items.get(outcome.ref.id), outcome.error
        names = self._asked.pop(outcome.ref.id, None) or (item and item.asked)
        value = error.environment if isinstance(error, SettingsNotAppliedError) else outcome.value
        if not isinstance(value, Environment):
            return outcome.digests
        if self._identity.endpoint == ROTATE_SECRET_TOKEN.name:
            return marks(ROTATE_SECRET_TOKEN, value)
        return digests(value.settings, names) if names else None


def _no_sink(item: Item) -> ConfigurationError:
    """The error for a secret that is still to be handed over, by a run that was resumed without its sink."""
    happened = item.state == "unfinished"
    error = ConfigurationError(
        f"An earlier session of the run {'has' if happened else 'may have'} rotated the secret, and its sink has not taken the "
        "new one. Nothing was sent now. Resume the run with sink= again, which hands it over."
    )
    error.action_done = happened
    return error


def body_digest(body: bytes | None) -> str:
    """A digest of what is sent."""
    return hashlib.sha256(body or b"").hexdigest()

"""What a journal holds, as values: the identity of a run, its items, and a summary of each run."""

import contextlib
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import attrs
import msgspec

from aioposthog_env.bulk.journal_errors import damaged
from aioposthog_env.bulk.journal_statements import JSON_COLUMNS
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.recovery import Marks

Kept: TypeAlias = dict[str, dict[str, JSONValue]]
"""Setting to ``{"value": …}``, or to ``{"digest": …}`` where the value is not kept."""


@attrs.frozen(kw_only=True)
class Identity:
    """What a run is: resuming it as anything else is refused.

    Attributes:
        host: The origin that it talks to.
        credential: The digest of the credential.
        endpoint: The endpoint's name.
        body: The digest of what is sent.
    """

    host: str
    credential: str
    endpoint: str
    body: str

    def refusal(self, earlier: "Identity", *, adopt: bool) -> str | None:
        """Return in which respect an earlier run is another one; None if this run may resume it."""
        if self.host != earlier.host:
            return f"it was begun at {earlier.host}, and this is {self.host}."
        if self.endpoint != earlier.endpoint:
            return f"it calls {earlier.endpoint}, and this is {self.endpoint}."
        if self.body != earlier.body:
            return "it was begun with other settings, or as another plan."
        if self.credential != earlier.credential and not adopt:
            return "it was begun with another credential; if that was replaced, say adopt=True."
        return None


@attrs.frozen(kw_only=True)
class Item:
    """What the journal holds of one environment.

    Attributes:
        environment: The environment's id.
        project: The id of its project, where it was given.
        state: ``intended``; ``unfinished``; or the status of its outcome.
        intended: When it was about to be sent, in seconds since 1970; None where it never was.
        finished: When its outcome was known.
        body: The digest of what is sent.
        marks: What a token call was to change, as digests.
        asked: The settings that were sent.
        before: The settings that they replaced.
        after: The digests of these settings as the server returned them.
        error: Why it failed or is unknown.
        attempts: Requests sent.
    """

    environment: int
    project: int | None
    state: str
    intended: float | None
    finished: float | None
    body: str | None
    marks: Marks | None
    asked: Kept | None
    before: Kept | None
    after: Mapping[str, str] | None
    error: str | None
    attempts: int

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in {"succeeded", "unchanged"}

    @property
    def in_doubt(self) -> bool:
        """Whether it is to be looked at before anything is sent: it may have been sent, or it was and is not finished."""
        return self.state == "unfinished" or (self.state in {"intended", "unknown"} and self.intended is not None)


@attrs.frozen(kw_only=True)
class RunSummary:
    """One run of a journal.

    Attributes:
        name: Its name within the file.
        host: The origin that it talks to.
        endpoint: The endpoint's name.
        started: When it began.
        counts: How many environments are in each state; ``intended``, ``unfinished`` and ``unknown`` are in doubt.
        undoes: The name of the run that it undoes; None where it does something by itself.
    """

    name: str
    host: str
    endpoint: str
    started: datetime
    counts: Mapping[str, int]
    undoes: str | None = None


_Time: TypeAlias = float | None
_Text: TypeAlias = str | None
_ITEM: Final = tuple[int, int | None, str, _Time, _Time, _Text, _Text, _Text, _Text, _Text, _Text, int]
"""The types of an item's columns."""
Run: TypeAlias = tuple[int, str, str, str, float, str | None]
"""The types of a run's columns: number, name, host, endpoint, start, and the name of the run that it undoes."""


@contextlib.contextmanager
def decoding(path: Path) -> Generator[None, None, None]:
    """Report a value that this library never writes as damage of the file. Other errors are not about the file."""
    try:
        yield
    except (msgspec.MsgspecError, RecursionError):
        raise damaged(path) from None


def digests_of(rows: Iterable[tuple[int, str | None]]) -> dict[int, str | None]:
    """Return the digest of each environment. Mostly all are the same, and then kept once."""
    return {environment: body if body is None else sys.intern(body) for environment, body in rows}


def items_of(rows: Iterable[Sequence[Any]], path: Path) -> list[Item]:
    """Decode items of a journal.

    Raises:
        JournalError: A value is not one that this library writes.
    """
    with decoding(path):
        return [_item(row) for row in rows]


def _item(row: Sequence[Any]) -> Item:
    named: dict[str, Any] = dict(zip(attrs.fields_dict(Item), msgspec.convert(row, _ITEM), strict=True))
    for name, decoder in JSON_COLUMNS.items():
        if named[name] is not None:
            named[name] = decoder.decode(cast("str", named[name]))
    return Item(**named)


def moment(seconds: float, path: Path) -> datetime:
    """Return a time of a journal, recorded in seconds since 1970.

    Raises:
        JournalError: There is no such time.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise damaged(path) from None

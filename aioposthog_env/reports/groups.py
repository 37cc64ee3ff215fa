"""What many environments have in common, said once: what is to be done about them, and how they changed."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

from aioposthog_env.bulk.outcome import Status
from aioposthog_env.reports.model import ReportRow
from aioposthog_env.reports.text import cut, plain, room, shown

_ORDER: Final[tuple[Status, ...]] = ("unknown", "failed", "skipped", "succeeded", "unchanged")
_ROOM: Final = 300_000
_Key: TypeAlias = tuple[Status, str, str]


@attrs.frozen(kw_only=True)
class Attention:
    """Environments about which the same is to be done.

    Attributes:
        status: Their status.
        reason: Their reason, or nothing.
        advice: What to do.
        errors: What happened, each with the numbers of the environments among the report's rows to which it did.
    """

    status: Status
    reason: str
    advice: str
    errors: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def count(self) -> int:
        """How many environments they are."""
        return sum(len(rows) for _, rows in self.errors)


@attrs.frozen(kw_only=True)
class Change:
    """The same change of a setting.

    Attributes:
        setting: The setting.
        before: Its value before, as a text.
        after: Its value after.
        status: What became of it.
        rows: The numbers of the environments among the report's rows.
    """

    setting: str
    before: str
    after: str
    status: Status
    rows: tuple[int, ...]


def attention_of(rows: Sequence[ReportRow]) -> list[Attention]:
    """What is to be done, what is unknown first, then what failed."""
    found = dict[_Key, dict[str, list[int]]]()
    for number, row in enumerate(rows):
        if row.needs_attention:
            errors = found.setdefault((row.status, row.reason or "", row.advice or ""), {})
            errors.setdefault(_without_its_id(row), []).append(number)
    longest = room((error for errors in found.values() for error in errors), _ROOM)
    attention = [
        Attention(
            status=status,
            reason=plain(reason),
            advice=plain(advice),
            errors=tuple(
                (cut(plain(error), longest), tuple(numbers))
                for error, numbers in sorted(errors.items(), key=lambda item: -len(item[1]))
            ),
        )
        for (status, reason, advice), errors in found.items()
    ]
    return sorted(attention, key=lambda one: (_ORDER.index(one.status), -one.count))


def _without_its_id(row: ReportRow) -> str:
    """The error without the words that tell which environment it is of, so that the same error is the same text."""
    return (row.error or "").replace(f" of environment {row.id}:", ":", 1)


def changes_of(rows: Sequence[ReportRow]) -> list[Change]:
    """What changed, or was to change; the most common first."""
    found = dict[tuple[str, str, str, Status], list[int]]()
    for number, row in enumerate(rows):
        for change in row.changes:
            key = change.setting, shown(change.before), shown(change.after), row.status
            found.setdefault(key, []).append(number)
    longest = room((text for key in found for text in key[1:3]), _ROOM)
    changes = [
        Change(setting=setting, before=cut(before, longest), after=cut(after, longest), status=status, rows=tuple(numbers))
        for (setting, before, after, status), numbers in found.items()
    ]
    return sorted(changes, key=lambda change: (-len(change.rows), change.setting))

"""The settings of all environments in little room: each value written once, and environments that are alike once.

A page of 2,000 environments and 60 settings holds 120,000 values, most of them the same few. So the page gets, for each
setting, its distinct values, and for each distinct combination their numbers. It groups what is alike in the settings that it
shows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from aioposthog_env.models.fields import JSONValue
from aioposthog_env.reports.model import DriftRow, Report
from aioposthog_env.reports.text import cut, plain, shown

_NONE: Final = -1
"""Of a value: the server did not show the setting. Of what is wanted: nothing is."""
Pattern: TypeAlias = tuple[int, ...]


@attrs.frozen(kw_only=True)
class Setting:
    """One column.

    Attributes:
        name: The setting.
        values: Its distinct values as texts, the most common first.
        wanted: The number of the value that is desired; -1 where none is.
        differing: How many environments are not as desired.
    """

    name: str
    values: tuple[str, ...]
    wanted: int
    differing: int


@attrs.frozen(kw_only=True)
class Line:
    """One environment: its host's number, and its pattern's; what is wanted of it alone, by the number of the setting."""

    host: int
    id: int
    name: str
    pattern: int
    wanted: Mapping[int, int]


@attrs.frozen(kw_only=True)
class Matrix:
    """Environments and their settings.

    Attributes:
        settings: The columns, those first in which most environments differ.
        patterns: For each distinct combination, the number of each setting's value; -1 where it was not shown.
        lines: The environments.
        differing: How many environments are not as desired in some setting.
        by_majority: Whether no settings were desired, so that they are held against what most have.
    """

    settings: tuple[Setting, ...]
    patterns: tuple[Pattern, ...]
    lines: tuple[Line, ...]
    differing: int
    by_majority: bool

    @property
    def columns(self) -> tuple[int, ...]:
        """The numbers of the settings in which environments differ."""
        return tuple(number for number, setting in enumerate(self.settings) if setting.differing)

    def wanted(self, line: Line, setting: int) -> int:
        """The number of the value that an environment should have."""
        return line.wanted.get(setting, self.settings[setting].wanted)

    def groups(self) -> list[list[Line]]:
        """The environments that are alike in what differs, the largest group first."""
        columns, found = self.columns, dict[tuple[object, ...], list[Line]]()
        for line in self.lines:
            pattern = self.patterns[line.pattern]
            alike = tuple((pattern[column], self.wanted(line, column)) for column in columns)
            found.setdefault(alike, []).append(line)
        return sorted(found.values(), key=len, reverse=True)


def matrix_of(report: Report, hosts: Mapping[str, int], longest_value: int, longest_name: int) -> Matrix:
    """The matrix of an audit.

    Args:
        report: The report.
        hosts: The number of each host.
        longest_value: Characters of a value that are shown.
        longest_name: Characters of a name that are shown.
    """
    texts = [{name: shown(value) for name, value in row.values.items()} for row in report.drift]
    names = sorted({name for values in texts for name in values} | set(report.desired))
    by_majority = not report.desired and not any(row.desired for row in report.drift)
    columns = [_Column.of(name, report, texts, by_majority=by_majority) for name in names]
    columns.sort(key=lambda column: (-column.differing, column.wanted is None, column.name))
    patterns, lines = dict[Pattern, int](), list[Line]()
    for row, values in zip(report.drift, texts, strict=True):
        pattern = tuple(column.number(values.get(column.name)) for column in columns)
        lines.append(
            Line(
                host=hosts[row.host],
                id=row.id,
                name=cut(plain(row.name), longest_name),
                pattern=patterns.setdefault(pattern, len(patterns)),
                wanted=_alone(row, columns),
            )
        )
    return Matrix(
        settings=tuple(column.setting(longest_value) for column in columns),
        patterns=tuple(patterns),
        lines=tuple(lines),
        differing=sum(
            any(column.differs(row, values.get(column.name)) for column in columns)
            for row, values in zip(report.drift, texts, strict=True)
        ),
        by_majority=by_majority,
    )


def _alone(row: DriftRow, columns: Sequence["_Column"]) -> dict[int, int]:
    return {
        number: column.number(shown(row.desired[column.name]))
        for number, column in enumerate(columns)
        if column.name in row.desired
    }


@attrs.define(kw_only=True)
class _Column:
    """A setting while its values are numbered."""

    name: str
    numbers: dict[str, int]
    wanted: str | None
    differing: int = 0

    @classmethod
    def of(cls, name: str, report: Report, texts: Sequence[Mapping[str, str]], *, by_majority: bool) -> "_Column":
        counted = Counter(values[name] for values in texts if name in values)
        common = [text for text, _ in counted.most_common()]
        wanted = shown(report.desired[name]) if name in report.desired else common[0] if by_majority and common else None
        alone = [shown(row.desired[name]) for row in report.drift if name in row.desired]
        every: list[str] = list(dict.fromkeys([*common, *([] if wanted is None else [wanted]), *alone]))
        column = cls(name=name, numbers={text: number for number, text in enumerate(every)}, wanted=wanted)
        column.differing = sum(column.differs(row, values.get(name)) for row, values in zip(report.drift, texts, strict=True))
        return column

    def number(self, text: str | None) -> int:
        return _NONE if text is None else self.numbers[text]

    def differs(self, row: DriftRow, text: str | None) -> bool:
        wanted = shown(row.desired[self.name]) if self.name in row.desired else self.wanted
        return text is not None and wanted is not None and text != wanted

    def setting(self, longest: int) -> Setting:
        return Setting(
            name=self.name,
            values=tuple(cut(text, longest) for text in self.numbers),
            wanted=self.number(self.wanted),
            differing=self.differing,
        )


def to_page(matrix: Matrix) -> dict[str, JSONValue]:
    """The matrix as the page's script reads it."""
    return {
        "settings": [[one.name, list(one.values), one.wanted, one.differing] for one in matrix.settings],
        "patterns": [list(pattern) for pattern in matrix.patterns],
        "lines": [_line_to_page(line) for line in matrix.lines],
    }


def _line_to_page(line: Line) -> JSONValue:
    alone: dict[str, JSONValue] = {str(setting): value for setting, value in line.wanted.items()}
    return [line.host, line.id, line.name, line.pattern, *([alone] if alone else [])]

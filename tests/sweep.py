"""Looks for secrets where none may be: whatever a sandbox has issued, whole or a part of twelve characters.

Everything that the tests leave behind is searched: log records with their tracebacks; errors, environments, outcomes, reports,
plans and the records for hooks, as text and pickled; the local variables in the traceback of each error, as a crash reporter
shows them; and the files in a test's folder. The files that hold secrets because that is what they are for are named in
``MAY_HOLD_SECRETS``.
"""

import contextlib
import logging
import pickle
import re
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast, get_args

import pytest

from aioposthog_env import BulkReport, Environment, Outcome, Plan
from aioposthog_env.bulk.plan import EnvironmentPlan, FieldChange
from aioposthog_env.errors import PostHogEnvError
from aioposthog_env.sandbox.state import State
from aioposthog_env.telemetry import Event

PART: Final = 12
_RUN: Final = re.compile(rf"[A-Za-z0-9_-]{{{PART},}}")
_LARGEST: Final = 4 * 2**20
"""Bytes of a file that are looked at; only files of nothing but filling are larger."""
_MOST: Final = 300
"""Of the errors of a test that makes thousands by chance, and of everything else that it makes, these are looked at."""
_TRACEBACKS: Final = 3
"""Of the errors of a whole run that were raised on the same way, so many are looked at with their local variables."""
_TESTS: Final = str(Path(__file__).parent)
MADE: Final = (PostHogEnvError, Environment, Outcome, BulkReport, Plan, EnvironmentPlan, FieldChange, *get_args(Event))
"""What callers and their hooks get to see."""

MAY_HOLD_SECRETS: Final = ("secrets.jsonl", "first.jsonl", "sink*", "s", "scene*.json", "key.txt", "password", "rotation.py")
"""Files by name: what a rotation hands over, the saved scene of a sandbox, and what a test gives a command to read."""


class Sweep:
    """What is sought, and what has been seen since the last look.

    Attributes:
        searched: How much the last look has searched.
    """

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._log = _Keep()
        self._made: dict[type, list[object]] = {kind: [] for kind in MADE}
        self._secrets = 0
        self._ways: Counter[object] = Counter()
        self.searched: Counter[str] = Counter()

    def seek(self, secret: str) -> None:
        """Look for this from now on. Project tokens are public: they stand in every page that sends events.

        Scenes of one seed draw the same characters, which may be a key in the one and a public token in the other.
        """
        start = len("phc_") if secret.startswith("phc_") else 0
        parts = {secret[at : at + PART]: secret for at in range(start, len(secret) - PART + 1)}
        if start:
            for part in parts:
                self._parts.pop(part, None)
        else:
            self._secrets += 1
            self._parts |= parts

    def hits(self, text: str) -> list[str]:
        """The parts of secrets in a text."""
        runs = (run.group() for run in _RUN.finditer(text))
        pieces = (run[at : at + PART] for run in runs for at in range(len(run) - PART + 1))
        return [piece for piece in pieces if piece in self._parts]

    def hits_in_files(self, files: Iterable[Path]) -> list[str]:
        """The files that hold a secret."""
        return [str(file) for file in files if self.hits(_head(file).decode("latin-1"))]

    def look(self, folder: Path | None) -> list[str]:
        """Where secrets were found since the last look, as descriptions without them."""
        lines, made, self._log.lines = self._log.lines, [one for some in self._made.values() for one in some], []
        self._made = {kind: [] for kind in MADE}
        files = [file for file in folder.rglob("*") if file.is_file() and not _may_hold(file)] if folder is not None else []
        self.searched = Counter(secrets=self._secrets, lines=len(lines), objects=len(made), files=len(files))
        self._secrets = 0
        texts = [*lines]
        for one in made:
            with contextlib.suppress(RecursionError):  # what cannot be shown, shows nothing
                texts += _forms(one)
                if isinstance(one, PostHogEnvError) and self._is_new_way(one):
                    self.searched["frames"] += sum(1 for error in _chain(one) for _ in _frames(error))
                    texts.append(with_locals(one))
        return [_described(text, hits) for text in texts if (hits := self.hits(text))] + self.hits_in_files(files)

    def _is_new_way(self, error: BaseException) -> bool:
        """Whether few errors so far were raised on the way of this one. Showing local variables takes a while."""
        way = tuple((type(one), *(frame.f_code for frame, _ in _frames(one))) for one in _chain(error))
        self._ways[way] += 1
        return self._ways[way] <= _TRACEBACKS

    @contextlib.contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Inside, take note of what every sandbox issues, what is logged at any level, and what callers get to see."""
        sweep, secret = self, State.secret

        def issue(state: State, prefix: str, length: int = 43) -> str:
            value = secret(state, prefix, length)
            sweep.seek(value)
            return value

        def noting(kind: type) -> Callable[..., None]:
            made: Callable[..., None] = kind.__init__  # type: ignore[misc]

            def make(one: object, *args: Any, **options: Any) -> None:
                made(one, *args, **options)
                if len(sweep._made[kind]) < _MOST:
                    sweep._made[kind].append(one)

            return make

        root, loud = logging.getLogger(), [logging.getLogger(name) for name in ("aioposthog_env", "aiohttp", "asyncio")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(State, "secret", issue)
            for kind in MADE:
                patch.setattr(kind, "__init__", noting(kind))
            root.addHandler(self._log)
            for log in loud:
                log.setLevel(logging.DEBUG)
            try:
                yield
            finally:
                root.removeHandler(self._log)
                for log in loud:
                    log.setLevel(logging.NOTSET)


def with_locals(error: BaseException) -> str:
    """An error with the local variables of all frames but those of the tests, as a crash reporter shows it.

    Formatting must not raise, whatever state the objects are in: a test where it does fails.
    """
    lines: list[str] = []
    for one in _chain(error):
        lines.append(f"{type(one).__name__}: {one}")
        for frame, line in _frames(one):
            lines.append(f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}")
            lines += [f"  {name} = {_repr(value)}" for name, value in frame.f_locals.items()]
    return "\n".join(lines)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # a number of more digits than Python prints
        return "…"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not frame.f_code.co_filename.startswith(_TESTS):
            yield frame, line


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what a traceback shows before it."""
    before: BaseException | None = error
    while before is not None:
        yield before
        if isinstance(before, BaseExceptionGroup):
            for part in cast("BaseExceptionGroup[BaseException]", before).exceptions:
                yield from _chain(part)
        before = before.__cause__ or (None if before.__suppress_context__ else before.__context__)


def _may_hold(file: Path) -> bool:
    return any(fnmatch(file.name, pattern) for pattern in MAY_HOLD_SECRETS)


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LARGEST)


class _Keep(logging.Handler):
    """Keeps what is logged, as a file would hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        extra = {name: value for name, value in record.__dict__.items() if name not in _USUAL}
        self.lines.append(f"{self.format(record)} {extra}")


_USUAL: Final = frozenset(logging.makeLogRecord({}).__dict__)


def _forms(made: object) -> Iterator[str]:
    yield repr(made)
    with contextlib.suppress(AttributeError):  # of an error that a test made by halves
        yield str(made)
    if isinstance(made, BaseException):
        yield str(made.__dict__)
        yield "".join(traceback.format_exception(made))
    yield pickle.dumps(made).decode("latin-1")


def _described(text: str, hits: list[str]) -> str:
    for hit in hits:
        text = text.replace(hit, "[SECRET]")
    return text[:2_000]

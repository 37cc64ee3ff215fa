"""Text and bytes that hold a secret on its way to the wire, and print redacted, also as an item of a container.

Crash reporters and ``pytest -l`` show ``repr`` of every local variable in a traceback. A ``Secret`` has to be revealed before
it can be sent, and what libraries then hold is one of these. They equal the plain value and are encoded like it; what is
derived from them, such as a slice, is plain again.
"""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class RedactedText(str):
    """Text that does not show in a traceback with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[redacted]'"


class RedactedBytes(bytes):
    """Bytes that do not show in a traceback with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


class RedactedBuffer(bytearray):
    """A response that is still being read, and does not show in a traceback with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def redacted(value: T) -> T:
    """Return an argument so that it does not show in a traceback: it may hold a password, or a key given in the wrong place.

    Args:
        value: Text becomes ``RedactedText``; any other value is returned as it is.
    """
    return RedactedText(value) if isinstance(value, str) else value  # type: ignore[return-value]


def printable_half_built(kind: type[T]) -> type[T]:
    """Decorate a class so that an object of it can be printed while it is being built, as a traceback may show it.

    ``repr`` and ``str`` of an object whose ``__init__`` has raised, or that was made by ``__new__`` alone, name the class.
    """
    for name in {"__repr__", "__str__"} & vars(kind).keys():
        setattr(kind, name, _printing(vars(kind)[name]))
    return kind


def _printing(whole: Callable[[object], str]) -> Callable[[object], str]:
    def show(self: object) -> str:
        try:
            return whole(self)
        except AttributeError:
            return f"<{type(self).__name__}, half built>"

    return show

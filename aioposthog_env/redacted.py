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
    """Decorate a class so that ``repr`` works while an object of it is being built, as a traceback may show it.

    ``repr`` of an object whose ``__init__`` has raised, or that was made by ``__new__`` alone, names the class.
    """
    whole: Callable[[T], str] = kind.__repr__

    def show(self: T) -> str:
        try:
            return whole(self)
        except AttributeError:
            return f"<{type(self).__name__}, half built>"

    kind.__repr__ = show  # type: ignore[assignment,method-assign]
    return kind

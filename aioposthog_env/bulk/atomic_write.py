"""Files that are put into their place whole, whatever kills the process."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def beside(path: Path, content: bytes) -> Generator[str, None, None]:
    """Write a file beside its place, on the disk and readable by its owner only, for the caller to link or move there.

    What is still there afterwards is removed.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def replace_file(path: Path, content: bytes) -> None:
    """Put a whole file in the place of another, or where there was none. A link stays, and what it leads to is replaced.

    Raises:
        OSError: It cannot be written, or what is there is no file.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not stat.S_ISREG(place.stat().st_mode):
        raise OSError(0, "it is no file")
    with beside(place, content) as name:
        os.replace(name, place)

"""Files that are written whole, whatever kills the process, for their owner only, and never through a symbolic link.

A link may have been planted by another user of the machine, to have a file of yours replaced. So a link is refused; one that
is planted after the check is itself replaced, and never what it leads to.
"""

import contextlib
import errno
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


def check_target(path: Path) -> None:
    """Refuse a path at which no file may be written.

    Raises:
        OSError: A symbolic link, or something else that is not a regular file.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise OSError(
            errno.ELOOP, "it is a symbolic link, which another user may have planted; give the path of the file itself"
        )
    if not stat.S_ISREG(mode):
        raise OSError(0, "it is not a regular file")


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file, also in the place of another, with mode 0600.

    Raises:
        OSError: It cannot be written, or what is there is a symbolic link or not a regular file.
    """
    check_target(path)
    with beside(path, content) as name:
        os.replace(name, path)

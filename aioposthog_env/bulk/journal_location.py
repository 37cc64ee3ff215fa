"""Where a journal was when a run last began: the machine, and the file on it.

A copy of a journal knows nothing of what happened after it was made. A run that resumes from it would do all of that again. A
file that was copied or restored has another inode, or is on another machine; one that was renamed keeps both.
"""

import os
import socket
from pathlib import Path
from typing import Self

import attrs

from aioposthog_env.errors import JournalError


@attrs.frozen
class Location:
    """A machine and a file on it.

    Attributes:
        host: The machine's host name up to its first dot: what follows changes with the network that a laptop is in.
        inode: The file's number in its file system. The device is left out: its number may change when the machine restarts.
    """

    host: str
    inode: str

    @classmethod
    def of(cls, opened: os.stat_result) -> Self:
        """Return the location of a file on this machine."""
        return cls(socket.gethostname().partition(".")[0].lower(), str(opened.st_ino))

    def moved_from(self, recorded: "Location") -> str | None:
        """Return how this location differs from the recorded one, and what that means; None if it does not differ."""
        if self.host != recorded.host:
            how = f"It was last used on the host {recorded.host!r}, and this is {self.host!r}."
        elif self.inode != recorded.inode:
            how = "It was copied or restored: it is not the file that was last used."
        else:
            return None
        return (
            f"{how} An old copy of a journal does not know what happened after it was made, and a run that resumes from it "
            "does all of that again."
        )

    def check(self, recorded: "Location", path: Path) -> None:
        """See that a journal is where a run last used it.

        Raises:
            JournalError: It is not.
        """
        if (how := self.moved_from(recorded)) is not None:
            raise JournalError(
                f"The journal {path} may be an old copy, so nothing was sent. {how} If no run has used another copy since, say "
                "Journal(path, moved=True), or --moved on the command line."
            )

"""The file of a journal: how it is made, opened, watched and closed.

**Made whole.** A new journal is written beside its place and linked into it, so a file of that name never is half a journal,
whatever kills the process. An empty file is therefore none of ours, or one that has lost what it held.

**Looked at first.** Whether a file is a journal of this format stands in its header, which is read through a connection that
neither locks nor changes anything. (A plain read of the file would not do: closing it frees the lock that another run of this
process holds.) Only then are its mode and its log touched. A checkpoint that was cut off, by a kill or a full disk, leaves a
main file that makes sense only together with its log; so nothing but the header is read before SQLite has joined the two.

**The two files belong together.** While a journal is open, the last that it recorded is in the file ending in ``-wal``. That it
is open stands in the main file, too, from before the first intent until after the last outcome. So a main file that was copied
without its log, or has lost it, is told from one that was closed.

**Still in its place.** A file that is open can be moved away, removed, replaced or cut off, and so can its log, while SQLite
notices nothing. What is written then would be lost with the process. So both are looked at before each commit.
"""

import contextlib
import os
import sqlite3
import stat
import struct
from pathlib import Path
from typing import Final

from aioposthog_env.bulk.atomic_write import beside
from aioposthog_env.bulk.file_owner import is_foreign
from aioposthog_env.bulk.journal_errors import code_of, damaged, explained, untouched
from aioposthog_env.bulk.journal_schema import APPLICATION, OPEN, VERSION, bounded, complete, is_ours, new_content
from aioposthog_env.bulk.threads import Interruption
from aioposthog_env.errors import JournalError


class Connection(sqlite3.Connection):
    """A connection to a journal that watches its two files.

    Attributes:
        place: The path that it was opened by, as a link where it is one.
        opened: What the main file was then.
        log: The file of the log.
        log_stays: Whether a log must be there once this is closed, because the main file says that it is open.
        is_open: Whether the main file says so because of this connection.
    """

    place: Path
    opened: os.stat_result
    log: Path
    log_stays: bool = False
    is_open: bool = False
    _log_opened: os.stat_result | None = None
    _main_size: int = 0
    _log_size: int = 0
    _is_cut: bool = False

    def begin_to_watch(self) -> None:
        """Remember which file the log is, now that there is one."""
        self.is_open, self._log_opened = True, _stat(self.log)

    def note_sizes(self) -> None:
        """Remember how large both files are: neither becomes smaller while this is open."""
        main, log = _stat(self.place), _stat(self.log)
        self._main_size = max(self._main_size, main.st_size if main else 0)
        self._log_size = max(self._log_size, log.st_size if log else 0)

    def check_files(self) -> None:
        """See that both files are still in their place, and whole.

        Raises:
            JournalError: One is not.
        """
        main, log = _stat(self.place), _stat(self.log)
        if main is None or not os.path.samestat(main, self.opened):
            raise JournalError(
                f"The journal {self.place} is no longer the file that was opened: it was moved, removed or replaced meanwhile. "
                f"No more is sent. Put it back, with {self.log.name} where there is one, before you resume the run. If it is "
                "lost, take every environment of the run as in doubt: read it before you repeat a token call."
            )
        if log is None or self._log_opened is None or not os.path.samestat(log, self._log_opened):
            raise JournalError(
                f"{self.log}, which holds the last that the journal recorded, was removed or replaced while the run used it. "
                "No more is sent. What was recorded is written to the journal when it is closed now; then resume the run. "
                "Keep other programs away from the file."
            )
        if main.st_size < self._main_size or log.st_size < self._log_size:
            self._is_cut = True
            name = self.place if main.st_size < self._main_size else self.log
            raise JournalError(
                f"{name} was truncated while the run used it, so the journal has lost a part of what it recorded. No more is "
                "sent. Take every environment of the run as in doubt: read it before you repeat a token call."
            )

    def close(self) -> None:
        """Close it, on whatever way it is left: SQLite then puts the log into the main file and removes it."""
        if self.is_open:
            self.is_open, self.log_stays = False, True
            with contextlib.suppress(JournalError):
                self.check_files()
            if not self._is_cut:
                with contextlib.suppress(sqlite3.Error):
                    self.execute(f"PRAGMA user_version = {VERSION}")
                    self.log_stays = False
        super().close()
        if self._is_cut:
            # Without its log it is refused from now on. With a part of it, it would open and know less than was sent.
            with contextlib.suppress(OSError):
                self.log.rename(self.log.with_name(f"{self.log.name}.truncated"))
        elif self.log_stays:
            # Such as on a full disk. Nothing is lost, but without a log it would pass for lost.
            self.log_stays = False
            with contextlib.suppress(OSError):
                self.log.touch(0o600)

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # where it never came about
            self.close()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def open_file(path: Path, *, create: bool, interruption: Interruption | None = None) -> Connection:
    """Open a journal. The file is held until it is closed, or the process is gone.

    Args:
        path: The file.
        create: Make it where there is none.
        interruption: What ends the check of a large file early.

    Raises:
        JournalError: It cannot be opened, is held by another process, is damaged, is no journal, or there is none; or it
            belongs to another user.
    """
    place = path.absolute()
    path = Path(os.path.realpath(path))
    try:
        if not path.exists():
            if not create:
                raise JournalError(f"There is no journal at {path}.")
            _make(path)
        _check(path)
        opened = path.stat()
        if stat.S_IMODE(opened.st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be opened: {error.strerror}.") from None
    log = path.with_name(f"{path.name}-wal")
    had_log = log.exists()
    with explained(path):
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, factory=Connection)
    db.place, db.opened, db.log, db.log_stays = place, opened, log, had_log
    try:
        with explained(path):
            _prepare(db, path, interruption or Interruption(), had_log=had_log)
    except BaseException:
        db.close()
        raise
    return db


def files_of(path: Path) -> tuple[Path, ...]:
    """The file of a journal, and those that SQLite keeps beside it."""
    path = Path(os.path.realpath(path))
    return (path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")))


def _make(path: Path) -> None:
    """Write an empty journal beside its place, and link it there. Where somebody was faster, theirs is it."""
    with beside(path, new_content()) as name, contextlib.suppress(FileExistsError):
        os.link(name, path)


def _check(path: Path) -> None:
    """See that a file is a journal of this format, without touching it."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(f"{path} is no file, so it is no journal. Nothing was changed.")
    _check_owner(path)
    if not found.st_size:
        raise JournalError(
            f"{path} is empty, and a journal never is: it was made by something else, or has lost what it held. Nothing was "
            "sent. If no run was ever recorded in it, remove the file. Otherwise take every environment of the run as in "
            "doubt: read it before you repeat a token call."
        )
    application, version = _header(path)
    if application != APPLICATION:
        raise JournalError(f"{path} is another SQLite file, and no journal. Nothing was changed in it.")
    version &= ~OPEN
    if version > VERSION:
        raise JournalError(f"{path} was written by a newer version of this library (format {version}); update it.")
    if version < VERSION:
        raise JournalError(
            f"{path} was written by an older version of this library (format {version}), which this one does not read. Nothing "
            "was changed in it. Finish its runs with that version, or name another file."
        )


def _check_owner(path: Path) -> None:
    """See that nobody else has laid out the journal, or one of the files that SQLite reads with it."""
    for file in files_of(path):
        with contextlib.suppress(FileNotFoundError):
            found = file.lstat()
            if is_foreign(found):
                raise JournalError(
                    f"{file} belongs to another user (id {found.st_uid}), who can change what it says was done. Nothing was "
                    "sent. If you trust its content, make it yours with chown; otherwise name another journal."
                )
            if not stat.S_ISREG(found.st_mode):
                raise JournalError(f"{file} is not a regular file, so it does not belong to a journal. Nothing was sent.")


def _header(path: Path) -> tuple[int, int]:
    """Return the application id and the version that the header of a file gives."""
    try:
        with contextlib.closing(untouched(path)) as db:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        raise JournalError(f"The journal {path} cannot be opened: {error}.") from None
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        if (found := _header_in_log(path.with_name(f"{path.name}-wal"))) is not None:
            return found
        raise JournalError(
            f"{path} is no SQLite file, so it is no journal. Nothing was changed in it. If it was one, its beginning is "
            f"damaged: keep a copy; `sqlite3 {path.name} .recover` may save something. Until then take every environment of "
            "the run as in doubt: read it before you repeat a token call."
        ) from None
    return application, version


_LOG_HEADER: Final = struct.Struct(">I4xI4x8s8x")
_FRAME: Final = struct.Struct(">I4x8s8x")
_PAGE_OF_HEADER: Final = struct.Struct(">60xI4xI")


def _header_in_log(log: Path) -> tuple[int, int] | None:
    """Return what the newest first page in a log gives as application id and version; None if it has none.

    A power loss may leave half of the main file's first page. SQLite then takes it from the log, whose checksums it verifies.
    https://www.sqlite.org/fileformat2.html#the_write_ahead_log
    """
    found = None
    with contextlib.suppress(OSError, struct.error), log.open("rb") as file:
        magic, size, salt = _LOG_HEADER.unpack(file.read(_LOG_HEADER.size))
        if magic & ~1 != 0x377F0682:
            return None
        while True:
            number, salt_of_frame = _FRAME.unpack(file.read(_FRAME.size))
            if salt_of_frame != salt:
                break
            if number == 1:
                version, application = _PAGE_OF_HEADER.unpack(file.read(_PAGE_OF_HEADER.size))
                found = application, version
                file.seek(-_PAGE_OF_HEADER.size, os.SEEK_CUR)
            file.seek(size, os.SEEK_CUR)
    return found


def _prepare(db: Connection, path: Path, interruption: Interruption, *, had_log: bool) -> None:
    version = _take(db, path)
    # Another process may have opened it, and died, while this one was on its way: then there is a log by now.
    if version & OPEN and not had_log and not (db.log.exists() and db.log.stat().st_size):
        raise JournalError(
            f"The journal {path} was not closed, and the file {db.log.name} with the last that it recorded is missing. Nothing "
            "was sent. The two files belong together: put it back beside this one. If it is lost, take every environment of "
            "the run as in doubt: read it before you repeat a token call."
        )
    with interruption.covering(db):
        if db.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            raise damaged(path)
    complete(db)
    db.execute(f"PRAGMA user_version = {VERSION | OPEN}")
    db.execute("COMMIT")
    db.begin_to_watch()
    # Into the main file, before anything else is recorded.
    db.execute("PRAGMA wal_checkpoint(FULL)")
    db.note_sizes()


def _take(db: Connection, path: Path) -> int:
    """Lock the file, which stays so until it is closed or the process is gone, and see that its tables are ours.

    Returns:
        The version in its header.
    """
    try:
        with bounded(db):
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            ours = application == APPLICATION and is_ours(db)
    except sqlite3.DatabaseError as error:
        # No statement has failed for what it says, and none takes long, where the tables are ours.
        if code_of(error) in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_INTERRUPT}:
            raise damaged(path, _FOREIGN) from None
        raise
    if not ours:
        raise damaged(path, _FOREIGN)
    if mode != "wal":
        raise JournalError(f"The journal {path} cannot be used: its file system does not allow SQLite's write-ahead log.")
    return int(version)


_FOREIGN: Final = "Its tables, views or triggers are not those that this library makes, so they were not used. "

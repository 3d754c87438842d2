"""A cache of fitted pictures on disk, so that a second start need not decode them again.

The pictures are rows of one SQLite database. So there is one file for any number of pictures, only new pictures are
written, several processes may use it at once, and a power cut does no harm. Nothing depends on the cache: if it is
damaged, locked or full, pictures are decoded. Each row has a checksum, since SQLite has none.

A picture is recognised by its path, its size and its times of change. To recognise it by its content, the whole file
would have to be read, and from an SD card that takes longer than decoding. The time of the inode is compared, too,
because programs that rotate a picture may set back the time of its content.
"""

import hashlib
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.fitting import Fitted, made_with

log = logging.getLogger("edgekd")

FILE = "fitted.sqlite"
BOUND = 2**32  # largest size of the file in bytes: 28,000 pictures of 224 pixels, or 350,000 of 64
# So much is written at once. A process that is killed loses no more than that, about a second of decoding.
BATCH = 2**22  # bytes of pixels
EFFORT = 2**26  # bytes of picture files
PATIENCE = 30.0  # seconds to wait while another process writes

_COLUMNS = "file, side, stamp, remarks, pixels, digest"
_SCHEMA = f"CREATE TABLE fitted ({_COLUMNS}, PRIMARY KEY (file, side))"
# Size in bytes, times of change of the content and of the inode, and the version. The version is needed because a
# process of another version may have the cache open while it is made anew, and then write its rows into the new table.
_STAMP = "%d %d %d %d"
# Words in SQLite's messages for errors that are not damage. Python 3.10 does not give SQLite's error codes.
_OUTSIDE = ("locked", "full", "readonly", "unable to open", "disk I/O", "locking protocol", "permission", "memory")


class FittedCache:
    """The cache in one folder, as a context; new pictures are written at its end at the latest, also after an error.

    Args:
        folder: the folder; it is made if it does not exist. None: no cache, so nothing is found and nothing is kept.
        size: height and width of the fitted pictures, in pixels.
        files: the pictures that will be asked for. If there is not room for all, others are deleted.
    """

    def __init__(self, folder: Path | None, size: int, files: Sequence[Path]) -> None:
        self._folder, self._size = folder, size
        self._names = {file: os.fsencode(os.path.abspath(file)) for file in files} if folder else {}
        self._wanted = {(name, size) for name in self._names.values()}
        self._version = _version() if folder else 0
        self._about: dict[Path, os.stat_result] = {}  # the state of the picture files before they were decoded
        self._rows: list[tuple[Any, ...]] = []  # not written yet
        self._effort = 0  # bytes of the picture files in these rows
        self._db: sqlite3.Connection | None = None
        self._warned = False  # of rows with a wrong checksum

    def __enter__(self) -> "FittedCache":
        if self._folder is not None:
            with self._guarded():
                self._open(self._folder)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        with self._guarded():
            self._write()
            if kind is None:
                self._drop(lambda name, side: (name, side) not in self._wanted and not os.path.exists(name))
        self._close()

    def get(self, file: Path) -> Fitted | None:
        """The fitted picture; None: it is not in the cache, or the file has changed since."""
        with self._guarded():
            return self._get(file)
        return None

    def put(self, file: Path, found: Fitted) -> None:
        """Keep the result of decoding `file`, for which `get` has returned None. An unreadable file is not kept."""
        about = self._about.get(file)
        if self._db is None or about is None or found.pixels is None:
            return
        remarks, pixels = json.dumps(found.remarks).encode(), found.pixels.tobytes()
        content = (self._names[file], self._size, self._stamp(about), remarks, pixels)
        self._rows.append((*content, _digest(content)))
        self._effort += about.st_size
        if len(self._rows) * len(pixels) >= BATCH or self._effort >= EFFORT:
            with self._guarded():
                self._write()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """A block in which trouble with the database or its disk only ends the use of the cache."""
        try:
            yield
        except OSError as error:
            self._give_up(error.strerror or str(error))
        except UnicodeDecodeError:  # SQLite's own message contains a damaged name
            self._make_anew()
        except sqlite3.ProgrammingError:
            raise  # a bug in edgekd
        except sqlite3.Error as error:
            if _is_damage(error):
                self._make_anew()
            else:
                self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        log.warning("cannot use the cache %s: %s; going on without it", self._folder, why)
        self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db, self._rows, self._effort = None, [], 0

    def _make_anew(self) -> None:
        assert self._folder is not None  # something in it was damaged
        log.warning("the cache %s is damaged: it is made anew", self._folder)
        self._close()
        try:
            for name in (FILE, f"{FILE}-journal"):
                (self._folder / name).unlink(missing_ok=True)
            self._open(self._folder)
        except (OSError, sqlite3.Error) as error:
            self._give_up(str(error))

    def _open(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would create a file that everybody can read.
        os.close(os.open(folder / FILE, os.O_CREAT | os.O_RDONLY, 0o600))
        self._db = db = sqlite3.connect(folder / FILE, timeout=PATIENCE, isolation_level=None)
        db.text_factory = bytes  # a damaged row may hold text that is not UTF-8
        db.execute("PRAGMA secure_delete = ON")  # of a deleted picture, nothing is left in the file
        version, before = self._version, _pragma(db, "user_version")
        if before != version:
            if before:
                log.warning("the cache %s is of another version of edgekd or Pillow: it is made anew", folder)
            with db:
                db.execute("BEGIN IMMEDIATE")
                if _pragma(db, "user_version") != version:  # another process may have been faster
                    db.execute("DROP TABLE IF EXISTS fitted")
                    db.execute(_SCHEMA)
                    db.execute(f"PRAGMA user_version = {version}")
        page, used = _pragma(db, "page_size"), _pragma(db, "page_count")
        left = shutil.disk_usage(folder).free // 2  # other programs need the disk, too
        db.execute(f"PRAGMA max_page_count = {min(BOUND // page, used + left // page)}")

    def _get(self, file: Path) -> Fitted | None:
        if self._db is None:
            return None
        try:
            about = file.stat()
        except OSError:  # it was deleted; decoding it will report the error
            return None
        self._about[file] = about
        key = (self._names[file], self._size)
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM fitted WHERE file = ? AND side = ?", key).fetchall()
        if not rows or rows[0][2] != self._stamp(about):
            return None
        if not _is_sound(rows[0], key):
            if not self._warned:
                log.warning("pictures in the cache %s do not have their checksum: decoded again", self._folder)
            self._warned = True
            return None
        _, _, _, remarks, pixels, _ = rows[0]
        shaped = np.frombuffer(pixels, np.uint8).reshape(self._size, self._size, 3)
        return Fitted(pixels=shaped, remarks=tuple(json.loads(remarks)))

    def _stamp(self, about: os.stat_result) -> bytes:
        return (_STAMP % (about.st_size, about.st_mtime_ns, about.st_ctime_ns, self._version)).encode()

    def _write(self) -> None:
        if self._db is None or not self._rows:
            return
        try:
            self._insert(self._db, self._rows)
        except sqlite3.OperationalError as error:
            if "full" not in str(error) or not self._drop(lambda name, side: (name, side) not in self._wanted):
                raise
            self._insert(self._db, self._rows)
        self._rows, self._effort = [], 0  # if an interrupt comes before this line, they are written at the end

    def _insert(self, db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR REPLACE INTO fitted VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _drop(self, unwanted: Callable[[bytes, int], bool]) -> int:
        """Delete the rows of unwanted files and sizes; returns their number."""
        if self._db is None:
            return 0
        rows = self._db.execute("SELECT rowid, file, side FROM fitted").fetchall()
        dropped = [(row,) for row, name, side in rows if unwanted(name, side)]
        if dropped:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("DELETE FROM fitted WHERE rowid = ?", dropped)
        return len(dropped)


def _version() -> int:
    """A number in [1, 2^31) that stands for everything that determines the content of rows."""
    content = json.dumps([_SCHEMA, _STAMP, made_with()], sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=4).digest(), "big") >> 1 or 1


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _digest(content: Sequence[Any]) -> bytes:
    """The checksum of a row."""
    name, side, stamp, remarks, pixels = content
    head = b"%d %d %d %d " % (side, len(name), len(stamp), len(remarks))
    return hashlib.blake2b(b"".join([head, name, stamp, remarks, pixels]), digest_size=16).digest()


def _is_sound(row: Sequence[Any], key: tuple[bytes, int]) -> bool:
    try:
        return (row[0], row[1]) == key and row[-1] == _digest(row[:-1])
    except TypeError:  # a value that should be bytes is not
        return False


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the error means damage to the database; otherwise the database is locked, full or out of reach."""
    return not isinstance(error, sqlite3.OperationalError) or not any(words in str(error) for words in _OUTSIDE)

"""The database of a hospital node: studies, their instances, results, and objects on their way to the PACS.

SQLite in WAL mode keeps whatever was committed, also when the process is killed or the machine loses power.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from kicc_ml.core.errors import UserError, make_target_error
from kicc_ml.core.files import PRIVATE_FILE
from kicc_ml.service.severity_rank import rank_stored_result

#: Written into the file; a database of another version is not opened.
VERSION = 3
#: The rank of a study is that of its worst result.
RANK = "COALESCE((SELECT MAX(severity_rank(modality, severity)) FROM result WHERE study = study.id), -1)"
#: What makes the database of an earlier version one of the next.
CHANGES = {
    1: "ALTER TABLE instance ADD COLUMN digest TEXT NOT NULL DEFAULT '';",
    2: "ALTER TABLE study ADD COLUMN instances INTEGER NOT NULL DEFAULT 0; "
    "ALTER TABLE study ADD COLUMN rank REAL NOT NULL DEFAULT -1; "
    f"UPDATE study SET rank = {RANK}, instances = (SELECT COUNT(*) FROM instance WHERE study = study.id); "
    "CREATE INDEX study_by_rank ON study(rank DESC, changed DESC, id DESC);",
}
SCHEMA = """
CREATE TABLE study (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice, so that its folder is never that of another study
  uid TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  identity TEXT NOT NULL DEFAULT '{}',   -- label to value, as JSON; empty where the node is not identified
  received REAL NOT NULL,                -- of the first instance, seconds since 1970
  changed REAL NOT NULL,                 -- of the latest instance
  due REAL NOT NULL DEFAULT 0,           -- not predicted before
  ended REAL,
  starts INTEGER NOT NULL DEFAULT 0,     -- of a prediction that the node did not live to see the end of
  crashes INTEGER NOT NULL DEFAULT 0,    -- of the worker that predicted it
  has_pixels INTEGER NOT NULL DEFAULT 1,
  instances INTEGER NOT NULL DEFAULT 0,  -- ever received, also where their pixels were deleted
  rank REAL NOT NULL DEFAULT -1          -- of its worst result, by which the worklist is sorted
) STRICT;
CREATE TABLE instance (
  study INTEGER NOT NULL REFERENCES study(id) ON DELETE CASCADE,
  sop TEXT NOT NULL,
  file TEXT NOT NULL,                    -- name in the folder of the study; '' once the pixels were deleted
  bytes INTEGER NOT NULL,
  digest TEXT NOT NULL DEFAULT '',       -- of its data set; kept when its pixels go, so that none takes its place
  PRIMARY KEY (study, sop)
) STRICT, WITHOUT ROWID;
CREATE TABLE result (
  case_id TEXT PRIMARY KEY,
  study INTEGER NOT NULL REFERENCES study(id) ON DELETE CASCADE,
  files TEXT NOT NULL,                   -- digest of the names of the files that it was predicted from
  modality TEXT NOT NULL,
  severity TEXT NOT NULL,                -- columns of predictions.csv, as JSON
  flags TEXT NOT NULL,                   -- what a reader has to know, as a JSON list
  prior TEXT NOT NULL DEFAULT ''         -- case id of the prior scan of the patient
) STRICT;
CREATE TABLE delivery (
  sop TEXT PRIMARY KEY,                  -- an object is delivered once, however often it is predicted
  study INTEGER NOT NULL REFERENCES study(id) ON DELETE CASCADE,
  path TEXT NOT NULL,                    -- below the folder of results
  tries INTEGER NOT NULL DEFAULT 0,
  due REAL NOT NULL DEFAULT 0,
  delivered REAL,
  error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX study_by_rank ON study(rank DESC, changed DESC, id DESC);
CREATE INDEX study_by_state ON study(state, changed);
CREATE INDEX delivery_by_study ON delivery(study);
CREATE INDEX result_by_study ON result(study);
"""


class Database:
    """One connection for all threads of the node, one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = RLock()
        try:
            path.touch(PRIVATE_FILE)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.create_function("severity_rank", 2, rank_stored_result, deterministic=True)
            self._connection.create_function("casefold", 1, str.casefold, deterministic=True)
            self._open(path)
        except (OSError, sqlite3.OperationalError) as error:
            raise make_target_error(path, error) from error
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} is damaged ({error}); move it away, and have the studies sent again") from error

    def _open(self, path: Path) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version in CHANGES:
            changes = " ".join(CHANGES[one] for one in range(version, VERSION))
            self._connection.executescript(f"BEGIN; {changes} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise UserError(f"{path} was written by another version of kicc_ml; name a new folder in the configuration")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; what the block changes is kept as a whole, or not at all where it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection; whatever was committed is kept."""
        with self._lock:
            self._connection.close()

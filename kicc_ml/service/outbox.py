"""Objects on their way to the PACS: each is delivered once, however often that has to be tried."""

import time
from dataclasses import dataclass

from kicc_ml.service.database import Database


@dataclass(frozen=True)
class Parcel:
    """An object to deliver: its SOP instance UID, its path below the folder of results, and earlier ``tries``."""

    sop: str
    path: str
    tries: int


class Outbox:
    """The objects that the PACS does not have yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_due(self, most: int) -> list[Parcel]:
        """List the objects whose pause is over, those that wait longest first.

        Objects of a study that is being predicted wait: they may be replaced.
        """
        rows = self._database.read(
            "SELECT sop, path, tries FROM delivery JOIN study ON study.id = study "
            "WHERE delivered IS NULL AND delivery.due <= ? AND state <> 'predicting' "
            "ORDER BY delivery.due, delivery.rowid LIMIT ?",
            (time.time(), most),
        )
        return [Parcel(row["sop"], row["path"], row["tries"]) for row in rows]

    def is_open(self, parcel: Parcel) -> bool:
        """Whether an object that was listed is still to be delivered: its study was neither deleted nor taken again."""
        rows = self._database.read(
            "SELECT 1 FROM delivery JOIN study ON study.id = study "
            "WHERE sop = ? AND path = ? AND delivered IS NULL AND state <> 'predicting'",
            (parcel.sop, parcel.path),
        )
        return bool(rows)

    def mark_delivered(self, parcel: Parcel) -> None:
        """Note that the PACS has an object; the study is done with the last one."""
        now = time.time()
        with self._database.transaction() as connection:
            connection.execute("UPDATE delivery SET delivered = ?, error = '' WHERE sop = ?", (now, parcel.sop))
            connection.execute(
                "UPDATE study SET state = 'done', ended = ? WHERE state = 'delivering' "
                "AND id = (SELECT study FROM delivery WHERE sop = ?) "
                "AND NOT EXISTS (SELECT 1 FROM delivery WHERE study = study.id AND delivered IS NULL)",
                (now, parcel.sop),
            )

    def postpone(self, parcel: Parcel, error: str, first_pause_s: float, longest_pause_s: float) -> None:
        """Try an object again after a pause, which doubles with every try."""
        pause_s = min(first_pause_s * 2.0 ** min(parcel.tries, 60), longest_pause_s)
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE delivery SET tries = tries + 1, due = ?, error = ? WHERE sop = ?",
                (time.time() + pause_s, error, parcel.sop),
            )

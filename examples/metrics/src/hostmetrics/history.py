"""What was measured, in SQLite: the rates of today come from counters of a while ago."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hostmetrics.procfs import NANOSECONDS

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sample (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  boot_id TEXT NOT NULL,
  taken_ns INTEGER NOT NULL   -- since boot
);
CREATE TABLE IF NOT EXISTS counter (
  sample INTEGER NOT NULL REFERENCES sample ON DELETE CASCADE,
  key TEXT NOT NULL,
  cpu_ns INTEGER NOT NULL,
  PRIMARY KEY (sample, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sample_by_time ON sample (boot_id, taken_ns);
"""


@dataclass(frozen=True)
class Count:
    """A counter of processor time."""

    cpu_ns: int
    since_ns: int
    """When it began at zero, since boot."""


@dataclass(frozen=True)
class Rate:
    """Processor time over a span of time."""

    cpu_ns: int
    span_ns: int

    @property
    def nanocores(self) -> int:
        """Billionths of a core."""
        return self.cpu_ns * NANOSECONDS // self.span_ns


class History:
    """Samples of one host, later ones after earlier ones. For one thread."""

    def __init__(self, file: Path | str, boot_id: str) -> None:
        """`file` may be ":memory:". Counters of another boot are forgotten."""
        self._boot_id = boot_id
        self._db = sqlite3.connect(file, check_same_thread=False)
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
        self._db.executescript(_SCHEMA)
        with self._db:
            self._db.execute("DELETE FROM sample WHERE boot_id <> ?", (boot_id,))

    def close(self) -> None:
        self._db.close()

    def add(self, taken_ns: int, counts: Mapping[str, Count], keep_ns: int) -> int:
        """Adds a sample and forgets those that are older than `keep_ns`. The sample's number: they rise, over
        restarts too."""
        with self._db, closing(self._db.cursor()) as cursor:
            cursor.execute("INSERT INTO sample (boot_id, taken_ns) VALUES (?, ?)", (self._boot_id, taken_ns))
            number = cursor.lastrowid
            assert number is not None, "a row was inserted"
            rows = ((number, key, count.cpu_ns) for key, count in counts.items())
            cursor.executemany("INSERT INTO counter (sample, key, cpu_ns) VALUES (?, ?, ?)", rows)
            cursor.execute("DELETE FROM sample WHERE taken_ns < ?", (taken_ns - keep_ns,))
        return number

    def rates(self, taken_ns: int, counts: Mapping[str, Count], window_ns: int) -> dict[str, Rate]:
        """How fast each counter rises: since the earliest sample in the window that has it, or since it began,
        where that is later than the sample before. Of others nothing is known yet."""
        earliest = self._db.execute(
            "SELECT key, cpu_ns, min(taken_ns) FROM counter JOIN sample ON sample.id = counter.sample "
            "WHERE boot_id = ? AND taken_ns >= ? AND taken_ns < ? GROUP BY key",
            (self._boot_id, taken_ns - window_ns, taken_ns),
        )
        before = {key: (cpu_ns, at_ns) for key, cpu_ns, at_ns in earliest}
        (last_ns,) = self._db.execute(
            "SELECT max(taken_ns) FROM sample WHERE boot_id = ? AND taken_ns < ?", (self._boot_id, taken_ns)
        ).fetchone()
        rates = {}
        for key, count in counts.items():
            began = (0, count.since_ns) if last_ns is not None and count.since_ns >= last_ns else None
            from_ns = before.get(key, began)
            if from_ns is None or from_ns[1] >= taken_ns:
                continue
            rates[key] = Rate(max(0, count.cpu_ns - from_ns[0]), taken_ns - from_ns[1])
        return rates

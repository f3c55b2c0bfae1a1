#!/usr/bin/env python3
"""A service on the host that keeps committing rows to a SQLite database, and can be told to stand still: for tests of file sets.

row_service.py FOLDER runs it. FOLDER/data/rows.db is its database (with its WAL); what it is told and what it tells lies beside:
FOLDER/hold makes it stand still, FOLDER/held says that it does, with the number of its last committed row. RowService starts and
ends one, and has the hooks that do the telling.
"""
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
import zlib

HOOK = """#!/bin/sh
# The hooks of a file set: freeze waits until the service says that it stands still.
echo "$UMBRA_EVENT" >> {folder}/events
case "$UMBRA_EVENT" in
  freeze)
    touch {folder}/hold
    for i in $(seq 200); do
      [ -e {folder}/held ] && cp {folder}/held {folder}/rows-at-freeze && exit 0
      sleep 0.05
    done
    echo "the service doesn't stand still" >&2
    exit 1 ;;
  thaw) rm -f {folder}/hold ;;
  post_restore) echo "$UMBRA_TARGET_FOLDER $UMBRA_RESTORED" > {folder}/restored ;;
esac
"""


def checksum(number, text):
    return zlib.crc32(f"{number}:{text}".encode())


def run(folder):
    folder = pathlib.Path(folder)
    hold, held = folder / "hold", folder / "held"
    database = sqlite3.connect(folder / "data/rows.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("CREATE TABLE IF NOT EXISTS row (number INTEGER PRIMARY KEY, text TEXT, sum INTEGER)")
    number = database.execute("SELECT COALESCE(MAX(number), 0) FROM row").fetchone()[0]
    while True:
        if hold.exists():
            part = folder / "held.new"
            part.write_text(str(number))
            part.rename(held)
            while hold.exists():
                time.sleep(0.005)
            held.unlink(missing_ok=True)
        number += 1
        text = f"{number:x}" * 20
        database.execute("BEGIN")
        database.execute("INSERT INTO row VALUES (?, ?, ?)", (number, text, checksum(number, text)))
        database.execute("COMMIT")
        time.sleep(0.001)


class RowService:
    """The service as another process, its folder and its file set."""

    def __init__(self, folder, name="shop"):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.name = name
        self.hook = self.folder / "hook"
        self._process = None

    def start(self):
        self.data.mkdir(parents=True, exist_ok=True)
        self.hook.write_text(HOOK.format(folder=self.folder))
        self.hook.chmod(0o755)
        self._process = subprocess.Popen([sys.executable, __file__, str(self.folder)])
        deadline = time.monotonic() + 10
        while self.rows() < 10:
            if time.monotonic() > deadline:
                raise RuntimeError("the service doesn't write")
            time.sleep(0.05)

    def stop(self):
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def file_set(self, **more):
        """Its table in an agent's configuration; `more` are other keys as TOML."""
        keys = {"name": f'"{self.name}"', "caption": '"Rows"', "paths": f'["{self.data}"]', "freeze": f'["{self.hook}"]',
                "thaw": f'["{self.hook}"]', **more}
        return "[[file_set]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())

    def rows(self):
        """Committed rows now."""
        try:
            with sqlite3.connect(f"file:{self.data}/rows.db?mode=ro", uri=True) as database:
                return database.execute("SELECT COUNT(*) FROM row").fetchone()[0]
        except sqlite3.OperationalError:
            return 0

    def rows_at_freeze(self):
        """Number of the last row that was committed when it last stood still."""
        return int((self.folder / "rows-at-freeze").read_text())

    def events(self):
        """The hooks that ran, in order."""
        path = self.folder / "events"
        return path.read_text().split() if path.exists() else []

    def forget_events(self):
        (self.folder / "events").unlink(missing_ok=True)

    def is_held(self):
        return (self.folder / "hold").exists()

    def writes(self):
        """Whether it commits rows."""
        before = self.rows()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            if self.rows() > before:
                return True
            time.sleep(0.02)
        return False


def check_rows(database_file):
    """Opens a restored database as its service would and gives its number of rows; AssertionError when one is missing or wrong."""
    with sqlite3.connect(database_file) as database:
        answer = database.execute("PRAGMA integrity_check").fetchone()[0]
        assert answer == "ok", answer
        rows = database.execute("SELECT number, text, sum FROM row ORDER BY number").fetchall()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), "a row is missing"
    for number, text, told in rows:
        assert checksum(number, text) == told, f"row {number} is wrong"
    return len(rows)


if __name__ == "__main__":
    run(sys.argv[1])

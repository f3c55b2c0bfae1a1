"""A fleet of simulated agents (tests/fleet), what the catalog says of its work, and a catalog with a long history."""
import collections
import json
import pathlib
import sqlite3
import subprocess
import time

from stack import StackError, wait_for

ENDED = {5: "succeeded", 6: "failed", 7: "cancelled"}  # states of a job as the catalog has them
SUCCEEDED = 5
DAY_US = 24 * 3600 * 1_000_000


class Fleet:
    """The simulator as a process; it tells what happens to it when it is asked."""

    def __init__(self, stack, build, agents, vms):
        self.stack, self.agents, self.vms = stack, agents, vms
        self.binary = pathlib.Path(build) / "tests/fleet/umbra_fleet"
        self.log = stack.folder / "fleet.log"
        self._process = None

    def start(self, *flags):
        """Enrols the agents; they don't connect yet."""
        command = [self.binary, "run", "--folder", self.stack.folder / "fleet", "--api-socket", self.stack.socket, "--enrolment",
                   self.stack.addresses()["enrolment_address"], "--agents", self.agents, "--vms", self.vms, *flags]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise StackError(f"umbra_fleet ended with {self._process.wait()}: {self.log.read_text()[-2000:]}")
        return json.loads(line)

    def ask(self, *words):
        print(*words, file=self._process.stdin, flush=True)
        return self._read()

    def stats(self):
        return self.ask("stats")

    @property
    def pid(self):
        return self._process.pid

    def wait_connected(self, timeout_s):
        """Seconds until all agents are welcomed."""
        start = time.monotonic()
        wait_for(lambda: self.stats()["connected"] == self.agents, timeout_s, "all agents should be connected", pause_s=0.1)
        return time.monotonic() - start

    def wait_inventory(self, timeout_s):
        records = Records(self.stack)
        wait_for(lambda: records.count("vm") == self.agents * self.vms, timeout_s, "all machines should be known", pause_s=0.2)

    def lists(self, seconds):
        """Measures the List calls for so long: {name: {count, p50_ms, p99_ms, max_ms}}; call the answer to wait for it."""
        self.ask("lists", seconds)
        return lambda: wait_for(lambda: self.ask("lists?"), seconds + 60, "the lists should be measured", pause_s=0.2)

    def committed_points(self):
        """Ids of all recovery points that the daemon answered with."""
        path = self.stack.folder / "committed"
        self.ask("commits", path)
        return path.read_text().split()

    def stop(self):
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(30)
            self._process = None


class Records:
    """What the catalog's file says, read beside the daemon."""

    def __init__(self, stack):
        self.path = stack.daemon_data / "catalog.db"
        self.repository = stack.daemon_data / "repositories/main"

    def query(self, sql, *values):
        catalog = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=60)
        try:
            return catalog.execute(sql, values).fetchall()
        finally:
            catalog.close()

    def count(self, table, where="1"):
        return self.query(f"SELECT COUNT(*) FROM {table} WHERE {where}")[0][0]

    def active(self, policy):
        return self.count("job", f"policy = '{policy}' AND end_time_us IS NULL")

    def states(self, policy):
        """How many jobs of the policy are how: {state: count}, and those that have ended by their names."""
        return {ENDED.get(state, "active"): count for state, count in
                self.query("SELECT state, COUNT(*) FROM job WHERE policy = ? GROUP BY state", policy)}

    def ended_span_s(self, policy):
        """Seconds from the moment at which the first job was due to the end of the last one."""
        first, last = self.query("SELECT MIN(COALESCE(due_time_us, create_time_us)), MAX(end_time_us) FROM job WHERE policy = ?", policy)[0]
        return (last - first) / 1e6

    def ended_per_second(self, policy):
        """{second: jobs that succeeded in it}."""
        return dict(self.query("SELECT end_time_us / 1000000, COUNT(*) FROM job WHERE policy = ? AND state = 5 GROUP BY 1", policy))

    def dispatch_delays_s(self, policy):
        """Seconds from the time at which a job was due to that of its first assignment, ascending."""
        rows = self.query(
            "SELECT j.due_time_us, (SELECT MIN(time_us) FROM event WHERE resource = 'jobs/' || j.id AND message = 'backup dispatching') "
            "FROM job AS j WHERE j.policy = ?", policy)
        return sorted((sent - due) / 1e6 for due, sent in rows if due is not None and sent is not None)

    def faults(self, policy, machines, committed):
        """What was lost or doubled, in words; empty when nothing was.

        `machines`: how many the policy selects. `committed`: ids of all points that agents were told they had made.
        """
        found = []
        jobs = self.query("SELECT id, state, due_time_us FROM job WHERE policy = ?", policy)
        members = collections.Counter(
            (due, host, vm) for due, host, vm in
            self.query("SELECT j.due_time_us, v.host_id, v.vm_uuid FROM job AS j JOIN job_vm AS v ON v.job_id = j.id WHERE j.policy = ?", policy))
        twice = [member for member, count in members.items() if count > 1]
        found += [f"{len(twice)} machines have two jobs for one due time, such as {twice[0]}"] if twice else []
        if len({member[1:] for member in members}) != machines:
            found.append(f"{len({member[1:] for member in members})} of {machines} machines have a job")
        states = collections.Counter(state for _, state, _ in jobs)
        found += [f"{count} jobs are in state {state}" for state, count in states.items() if state not in ENDED]
        points = dict(self.query("SELECT r.job_id, COUNT(*) FROM recovery_point AS r JOIN job AS j ON j.id = r.job_id WHERE j.policy = ? GROUP BY 1", policy))
        expected = dict(self.query("SELECT v.job_id, COUNT(*) FROM job AS j JOIN job_vm AS v ON v.job_id = j.id WHERE j.policy = ? GROUP BY 1", policy))
        for job, state, _ in jobs:
            has, wanted = points.get(job, 0), expected.get(job, 0) if state == SUCCEEDED else 0
            if has != wanted:
                found.append(f"job {job}, {ENDED.get(state, state)}, has {has} recovery points instead of {wanted}")
        rows = {row[0] for row in self.query("SELECT r.id FROM recovery_point AS r JOIN job AS j ON j.id = r.job_id WHERE j.policy = ?", policy)}
        known = {row[0] for row in self.query("SELECT id FROM recovery_point")} if committed else set()
        lost = [point for point in committed if point not in known]
        found += [f"{len(lost)} recovery points are lost that agents were told of, such as {lost[0]}"] if lost else []
        stored = {path.stem for path in self.repository.rglob("*.point")}
        missing, strange = rows - stored, stored - known if committed else set()
        found += [f"{len(missing)} recovery points are in the catalog and not in the repository"] if missing else []
        found += [f"{len(strange)} recovery points are in the repository and not in the catalog"] if strange else []
        return found[:20]


def fill_catalog(path, points, events):
    """Gives a catalog at rest a history: so many recovery points of its machines, a job for each, and so many events.

    Rows are copies of the catalog's own newest ones with other ids and times, so the catalog must have a backup and an inventory. Seconds.
    """
    start = time.monotonic()
    catalog = sqlite3.connect(path, isolation_level=None)
    catalog.executescript("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000;"
                          "PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;")
    machines = catalog.execute("SELECT COUNT(*) FROM vm").fetchone()[0]
    catalog.execute("CREATE TEMP TABLE machine AS SELECT ROW_NUMBER() OVER () - 1 AS i, host_id, uuid, display_name FROM vm ORDER BY host_id, uuid")
    catalog.execute("CREATE UNIQUE INDEX temp.machine_i ON machine (i)")
    now_us = int(time.time() * 1e6)
    job, point = "printf('%08x-0000-4000-9000-000000000000', n.i)", "printf('%08x-0000-4000-a000-000000000000', n.i)"
    moment = f"({now_us} - {60 * DAY_US} + n.i * {60 * DAY_US // points})"
    own = {"job_id": job, "recovery_point_id": point, "host_id": "m.host_id", "vm_uuid": "m.uuid"}
    first_job = catalog.execute("SELECT MAX(number) FROM job").fetchone()[0] + 1
    times = {"create_time_us": moment, "start_time_us": moment, "end_time_us": f"{moment} + 1000000", "due_time_us": moment}
    numbers = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {} - 1)"
    sample = catalog.execute("SELECT job_id, id FROM recovery_point ORDER BY create_time_us DESC LIMIT 1").fetchone()
    with Indices(catalog, ("job", "recovery_point", "event")):
        copies = [("job", {"number": f"{first_job} + n.i", "id": job, "policy": "'history'", **times}, "id", sample[0]),
                  ("job_vm", own, "job_id", sample[0]),
                  ("recovery_point", {**own, "id": point, "vm_display_name": "m.display_name", "point_time_us": moment, "create_time_us": moment},
                   "id", sample[1]),
                  ("recovery_point_disk", own, "recovery_point_id", sample[1]),
                  ("recovery_point_document", own, "recovery_point_id", sample[1])]
        for table, values, key, template in copies:
            columns = [row[1] for row in catalog.execute(f"PRAGMA table_info ({table})")]
            chosen = ", ".join(values.get(column, f"t.{column}") for column in columns)
            catalog.execute(f"CREATE TEMP TABLE template AS SELECT * FROM {table} WHERE {key} = ?", (template,))
            catalog.execute(f"INSERT INTO {table} ({', '.join(columns)}) {numbers.format(points)} SELECT {chosen} "
                            f"FROM n JOIN machine AS m ON m.i = n.i % {machines} CROSS JOIN template AS t")
            catalog.execute("DROP TABLE temp.template")
        first_event = catalog.execute("SELECT MAX(sequence) FROM event").fetchone()[0] + 1
        share = max(1, events // points)  # of each job and its point
        catalog.execute(
            f"INSERT INTO event (sequence, time_us, type, resource, severity, message) {numbers.format(events)} "
            f"SELECT {first_event} + n.i, {now_us - 60 * DAY_US} + n.i * {60 * DAY_US // events}, "
            f"CASE n.i % {share} WHEN 0 THEN 'RECOVERY_POINT_CREATED' ELSE 'JOB_STATE_CHANGED' END, "
            f"CASE n.i % {share} WHEN 0 THEN 'recoveryPoints/' || printf('%08x-0000-4000-a000-000000000000', n.i / {share}) "
            f"ELSE 'jobs/' || printf('%08x-0000-4000-9000-000000000000', n.i / {share}) END, 1, 'backup running' FROM n")
    catalog.executescript("ANALYZE; PRAGMA journal_mode = WAL;")
    catalog.close()
    return time.monotonic() - start


class Indices:
    """Takes the indices of some tables away while they are filled."""

    def __init__(self, catalog, tables):
        marks = ", ".join("?" for _ in tables)
        self._catalog = catalog
        self._made = catalog.execute(f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({marks})",
                                     tables).fetchall()

    def __enter__(self):
        for name, _ in self._made:
            self._catalog.execute(f"DROP INDEX {name}")

    def __exit__(self, *_):
        for _, sql in self._made:
            self._catalog.execute(sql)

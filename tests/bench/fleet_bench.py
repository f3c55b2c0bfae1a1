"""A fleet on a schedule: many simulated agents (tests/fleet) with real connections against a real umbrad with a real catalog.

Parts, in this order on one daemon: `connect` (memory and idle load with all agents connected), `restart` (the daemon restarts, all come
back), `latency` (from due to dispatched while the daemon has time), `lists` (lists are read while nothing else happens), `load`
(everything due at once, agents die, the daemon is killed once; lists are read before that, `load list`, and from the moment it is back, when
all agents connect again, `back list`). With --points the catalog gets a history before, so that lists are measured against it.
"""
import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / folder) for folder in ("deploy/local", "tests/support")]
from fleet import Fleet, Records, fill_catalog  # noqa: E402
from stack import Stack, wait_for  # noqa: E402

SIZES = {"agents": 2000, "vms": 25, "jobs": 50_000, "points": 1_000_000, "events": 10_000_000}
PARTS = ("connect", "restart", "latency", "lists", "load")
MIB = 1024 * 1024
TICKS = os.sysconf("SC_CLK_TCK")
IDLE_S = 20
LISTS_S = 30
LATENCY_RATE = 100  # jobs a second that become due: half of what is asked of the daemon under load
LATENCY_S = 30
GOALS = {"resident": 1024, "idle": 0.10, "rate": 200, "delay": 1.0, "back": 60, "list": 50}


def say(text):
    print(text, file=sys.stderr, flush=True)


def figure(name, value, unit, goal="", ok=None, against="", ratio=None):
    return {"name": f"fleet/{name}", "value": round(value, 3), "unit": unit, "against": against,
            "ratio": None if ratio is None else round(ratio, 3), "goal": goal, "ok": ok}


def cpu_s(pid):
    """Processor time that a process has used, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def quantile(ascending, share):
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))] if ascending else float("nan")


def next_minute():
    """The next full minute that is more than a few seconds away, for a schedule."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=65)
    return moment.replace(second=0, microsecond=0)


class Load:
    """What two processes use of the processors, and the most memory that the daemon had, while a block runs."""

    def __init__(self, stack, fleet):
        self._stack, self._fleet, self._stop = stack, fleet, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.daemon_s = self.fleet_s = self.peak_mib = 0.0

    def _look(self):
        last = {}
        while not self._stop.wait(0.2):
            for name, pid in (("daemon", self._stack.daemon.pid()), ("fleet", self._fleet.pid)):
                with contextlib.suppress(OSError, TypeError, StopIteration):
                    now = cpu_s(pid)
                    if (name, pid) in last:
                        setattr(self, f"{name}_s", getattr(self, f"{name}_s") + now - last[name, pid])
                    last[name, pid] = now
                    if name == "daemon":
                        self.peak_mib = max(self.peak_mib, resident_mib(pid))

    def __enter__(self):
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.wall_s = time.monotonic() - self._start
        self._stop.set()
        self._thread.join()


class FleetBench:
    def __init__(self, folder, build, agents, vms, jobs, points, events):
        self.build, self.jobs, self.points, self.events = build, jobs, points, events
        self.stack = Stack(pathlib.Path(folder) / "f", build, "")
        self.fleet = Fleet(self.stack, build, agents, vms)
        self.records = Records(self.stack)

    def limits(self):
        """The machine's own, in this run."""
        done = subprocess.run([str(self.fleet.binary), "limits", "--folder", str(self.stack.folder / "limits")], capture_output=True,
                              text=True, check=True)
        self.limit = json.loads(done.stdout)
        for name, unit in (("syncs", "syncs/s"), ("new_files", "synced new files/s"), ("round_trips", "calls/s"),
                           ("connections", "TLS connections/s")):
            yield figure(f"limit-{name.replace('_', '-')}", self.limit[name], unit)

    def begin(self):
        self.stack.start_daemon()
        start = time.monotonic()
        self.fleet.start()
        yield figure("enrol", time.monotonic() - start, f"s for {self.fleet.agents} agents")
        self.fleet.ask("start")
        first_s = self.fleet.wait_connected(300)
        self.fleet.wait_inventory(300)
        yield figure("first-connect", first_s, "s until all are connected")
        if self.points:
            yield from self.fill()

    def fill(self):
        """A history; its pattern is one real backup."""
        self.run_policy("seed", f"name={self.first_vm()}", 1, spread_s=0)
        self.stack.daemon.stop()
        seconds = fill_catalog(self.records.path, self.points, self.events)
        say(f"catalog of {self.points} points and {self.events} events made in {seconds:.0f} s")
        yield figure("catalog", self.records.path.stat().st_size / MIB, f"MiB with {self.points} points, {self.events} events")
        start = time.monotonic()
        self.stack.start_daemon(timeout_s=300)
        yield figure("start-with-history", time.monotonic() - start, "s")
        self.fleet.wait_connected(300)

    def first_vm(self):
        return self.records.query("SELECT display_name FROM vm ORDER BY display_name LIMIT 1")[0][0]

    # ---- Parts ----

    def connect(self):
        time.sleep(5)  # what the connections stirred up
        pid = self.stack.daemon.pid()
        begin, start = cpu_s(pid), time.monotonic()
        time.sleep(IDLE_S)
        idle = (cpu_s(pid) - begin) / (time.monotonic() - start)
        resident = resident_mib(pid)
        yield figure("resident", resident, "MiB", f"< {GOALS['resident']}", resident < GOALS["resident"],
                     f"{self.fleet.agents} agents x {self.fleet.vms} machines")
        yield figure("idle", idle, "cores", f"< {GOALS['idle']}", idle < GOALS["idle"])

    def restart(self):
        before = self.fleet.stats()
        self.stack.daemon.stop()
        with Load(self.stack, self.fleet) as load:
            self.stack.start_daemon(timeout_s=120)
            start = time.monotonic()
            wait_for(lambda: self.fleet.stats()["connected"] == self.fleet.agents, 300, "all agents should come back", pause_s=0.1)
        back = time.monotonic() - start
        now = self.fleet.stats()
        tries = (now["attempts"] - before["attempts"]) / self.fleet.agents
        say(f"restart: {load.daemon_s:.1f} s of processor in {load.wall_s:.1f} s; streams for each agent {tries:.2f}; {now['failures']}")
        yield figure("restart-back", back, "s until all are back", f"< {GOALS['back']}", back < GOALS["back"],
                     f"{self.limit['connections']:.0f} TLS connections/s", self.fleet.agents / back / self.limit["connections"])
        yield figure("restart-tries", tries, "streams for each agent", "< 3", tries < 3)

    def latency(self):
        select, count = self.some_hosts(LATENCY_RATE * LATENCY_S)
        self.run_policy("latency", select, count, spread_s=max(1, count // LATENCY_RATE))
        delays = self.records.dispatch_delays_s("latency")
        p50, p99 = quantile(delays, 0.5), quantile(delays, 0.99)
        yield figure("due-to-dispatched-p50", p50 * 1000, "ms")
        yield figure("due-to-dispatched-p99", p99 * 1000, "ms", f"< {GOALS['delay'] * 1000:g}", p99 < GOALS["delay"],
                     f"{len(delays)} jobs, {LATENCY_RATE} due each second")

    def lists(self):
        yield from self.list_figures("idle", self.fleet.lists(LISTS_S)())

    def load(self):
        machines = self.fleet.agents * self.fleet.vms
        select, count = ("all", machines) if self.jobs >= machines else self.some_hosts(self.jobs)
        self.fleet.ask("die", 0.05)
        with Load(self.stack, self.fleet) as load:
            listing = self.run_policy("load", select, count, spread_s=0, kill=True)
        self.fleet.ask("die", 0)
        stats, states = self.fleet.stats(), self.records.states("load")
        span = self.records.ended_span_s("load")
        faults = self.records.faults("load", count, self.fleet.committed_points())
        if stats["overlaps"]:
            faults.append(f"{stats['overlaps']} machines were in two jobs at once")
        for fault in faults:
            say(f"FAULT: {fault}")
        say(f"load: {states}, deaths {stats['deaths']}, {stats['failures']}")
        seconds = sorted(self.records.ended_per_second("load").values())
        rate = states.get("succeeded", 0) / span
        yield figure("load-rate", rate, "jobs/s", f">= {GOALS['rate']}", rate >= GOALS["rate"],
                     f"{self.limit['new_files']:.0f} synced new files/s, {self.limit['connections']:.0f} TLS connections/s")
        yield figure("load-rate-median-second", quantile(seconds, 0.5), "jobs/s")
        yield figure("load-daemon", load.daemon_s / load.wall_s, "cores")
        yield figure("load-simulator", load.fleet_s / load.wall_s, "cores")
        yield figure("load-processor", 1000 * (load.daemon_s + load.fleet_s) / count, "ms of both for each job", against=f"{load.wall_s:.0f} s in all")
        yield figure("load-resident-peak", load.peak_mib, "MiB", f"< {GOALS['resident']}", load.peak_mib < GOALS["resident"])
        yield figure("load-lost-or-doubled", len(faults), "faults", "0", not faults, f"{count} jobs, {stats['deaths']} deaths, one kill -9")
        yield figure("load-failed", sum(n for state, n in states.items() if state != "succeeded"), "jobs", "0", set(states) == {"succeeded"})
        for when, lists in listing.items():
            yield from self.list_figures(when, lists())

    def some_hosts(self, machines):
        """A selection of about so many machines, by the first digits of their hosts' numbers; and how many it selects."""
        hosts = max(1, min(machines // self.fleet.vms, self.fleet.agents))
        step = 10 ** (len(str(hosts)) - 1)
        select = " or ".join(f"host=fleet-{i:0{6 - len(str(hosts))}}*" for i in range(hosts // step))
        return select, hosts // step * step * self.fleet.vms

    def list_figures(self, when, lists):
        self.show_lists(when, lists)
        failed = {name: of for name, of in lists.items() if name.startswith("failed")}
        calls = {name: of for name, of in lists.items() if name not in failed}
        yield figure(f"{when}-list-failed", sum(of["count"] for of in failed.values()), "calls", "0", not failed, "; ".join(sorted(failed)))
        for name, of in sorted(calls.items()):
            yield figure(f"{when} list {name}", of["p99_ms"], "ms p99", f"< {GOALS['list']}", of["p99_ms"] < GOALS["list"],
                         f"{of['count']} calls, median {of['p50_ms']:.1f} ms")

    @staticmethod
    def show_lists(when, lists):
        for name, of in sorted(lists.items()):
            say(f"  {when}: list {name}: {of['count']} calls, p50 {of['p50_ms']:.1f}, p99 {of['p99_ms']:.1f}, max {of['max_ms']:.1f} ms")

    def run_policy(self, name, select, count, spread_s, kill=False):
        """Makes a policy that is due once, and waits until its jobs have ended. With `kill` the lists are read meanwhile, before and after it,
        and the answer gives them: when -> a call."""
        due = next_minute()
        flags = ["--select", select, "--schedule", f"{due.minute} {due.hour} * * *", "--retries", "20", "--retry-after", "2s",
                 "--no-saved-state"] + (["--spread", f"{spread_s}s"] if spread_s else [])
        made = self.stack.umbra("policy", "create", name, *flags)
        if made.status != 0:
            raise RuntimeError(str(made))
        time.sleep(max(0.0, (due - datetime.datetime.now(datetime.timezone.utc)).total_seconds()))
        listing = {}
        if kill:
            before = self.fleet.lists(min(LISTS_S, max(3, count // 800)))()  # less than the first quarter takes
            listing["load"] = lambda: before
            wait_for(lambda: self.records.states(name).get("succeeded", 0) >= count // 4, 300, "a quarter should be done", pause_s=0.5)
            self.stack.daemon.kill()
            self.stack.start_daemon(timeout_s=300)
            listing["back"] = self.fleet.lists(LISTS_S)
        wait_for(lambda: sum(self.records.states(name).values()) >= count and self.records.active(name) == 0, 900,
                 f"the jobs of {name} should end", pause_s=0.5)
        self.stack.umbra("policy", "pause", name)
        return listing


def run(folder, build, _cache, only=(), **sizes):
    """Yields the figures, one dictionary each."""
    bench = FleetBench(folder, build, **{**SIZES, **sizes})
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(bench.stack.stop)
        cleanup.callback(bench.fleet.stop)
        yield from bench.limits()
        yield from bench.begin()
        for part in only or PARTS:
            yield from getattr(bench, part)()

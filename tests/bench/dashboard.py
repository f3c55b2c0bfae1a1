"""The dashboard with a whole fleet behind it: how much is loaded and how soon the overview can be used, how soon an agent's report is to be
seen, what open dashboards cost the daemon, and what Lighthouse says of the page.

Parts: `page`, `idle`, `lighthouse`, `live`, in this order on one daemon with a simulated fleet (tests/fleet). Needs chromium, and web/dist and
web/node_modules (deploy/build-dashboard).
"""
import bisect
import contextlib
import json
import os
import pathlib
import socket
import ssl
import statistics
import subprocess
import threading
import time

import fleet_bench
from fleet import Fleet, Records
from stack import REPO, Stack, wait_for

PARTS = ("page", "idle", "lighthouse", "live")
ROUNDS = 5
REPORTS, REPORT_MS = 250, 100
OPEN = 200
TRIES = 3
REAL = 3  # of them in a browser; the others make the same requests
IDLE_S = 30
SUMS_S = 35  # the daemon counts the machines for half a minute after somebody asked for their sums
GOALS = {"script": 300, "usable": 1000, "visible": 250, "idle": 0.10, "score": 95}


def figure(name, value, unit, goal="", ok=None, against=""):
    return {"name": f"dashboard/{name}", "value": round(value, 3), "unit": unit, "against": against, "ratio": None, "goal": goal, "ok": ok}


class Browser:
    """web/e2e/bench.mjs as a process."""

    def __init__(self, address, password):
        self._process = subprocess.Popen(["node", str(REPO / "web/e2e/bench.mjs"), address, password], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, cwd=REPO / "web")
        self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the browser's program ended with {self._process.wait()}")
        return json.loads(line)

    def ask(self, what, **more):
        print(json.dumps({"do": what, **more}), file=self._process.stdin, flush=True)
        return self._read()

    def stop(self):
        self._process.stdin.close()
        self._process.wait(30)


class Client(threading.Thread):
    """What a page does, without the page: asks for what the overview shows, then listens to the events."""

    def __init__(self, address, token, paths):
        super().__init__(daemon=True)
        host, port = address.rsplit(":", 1)
        self._to, self._token, self._paths = (host, int(port)), token, paths
        self.listening = threading.Event()
        self._connection = None

    def run(self):
        for _ in range(TRIES):
            # On a machine that is busy the daemon may let go who took too long to ask; a browser tries again, too.
            with contextlib.suppress(OSError, ValueError):
                self._listen()
            if self.listening.is_set():
                return

    def _listen(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._connection = context.wrap_socket(socket.create_connection(self._to))
        reader = self._connection.makefile("rb")
        for path in self._paths:
            self._ask(path)
            self._skip_answer(reader)
        self._ask("/v1/events:watch?afterSequence=-1")
        if reader.readline():
            self.listening.set()
        while reader.readline():
            pass

    def _ask(self, path):
        self._connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._to[0]}:{self._to[1]}\r\nAuthorization: Bearer {self._token}\r\nAccept-Encoding: gzip\r\n\r\n".encode())

    @staticmethod
    def _skip_answer(reader):
        status = reader.readline()
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(reader.readline, b"\r\n"))
        if b" 200 " not in status:
            raise RuntimeError(status.decode().strip())
        if headers.get("transfer-encoding") == "chunked":
            while size := int(reader.readline(), 16):
                reader.read(size + 2)
            reader.readline()
        else:
            reader.read(int(headers.get("content-length", "0")))

    def close(self):
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
                self._connection.close()


class DashboardBench:
    def __init__(self, folder, build, agents, vms):
        self.build = pathlib.Path(build)
        self.stack = Stack(pathlib.Path(folder) / "d", build, "")
        self.stack.dashboard = REPO / "web/dist"
        self.fleet = Fleet(self.stack, build, agents, vms)
        self.browser = None

    def begin(self):
        self.stack.start_daemon()
        self.fleet.start()
        self.fleet.ask("start")
        self.fleet.wait_connected(300)
        self.fleet.wait_inventory(300)
        made = self.stack.umbra("policy", "create", "nightly", "--select", "all", "--schedule", "daily at 03:00", "--no-saved-state")
        if made.status != 0:
            raise RuntimeError(str(made))
        self.address = self.stack.addresses()["http_address"]
        self.token = self.stack.umbra("token", "create", "admin").last["secret"]
        self.browser = Browser(f"https://{self.address}", (self.stack.daemon_data / "first-credential").read_text().split()[-1])

    def stop(self):
        if self.browser is not None:
            self.browser.stop()
        self.fleet.stop()
        self.stack.stop()

    def page(self):
        seen = self.browser.ask("load", rounds=ROUNDS)
        kib = seen["script_bytes"] / 1024
        times = sorted(seen["times_ms"])
        machines = f"{self.fleet.agents * self.fleet.vms} machines, cold cache, {ROUNDS} rounds"
        yield figure("first-load", kib, "KiB of compressed script", f"< {GOALS['script']}", kib < GOALS["script"])
        yield figure("overview-usable", statistics.median(times), "ms", f"< {GOALS['usable']}", statistics.median(times) < GOALS["usable"], machines)
        yield figure("overview-usable-worst", times[-1], "ms", against=machines)
        took = statistics.median(self.browser.ask("search", name=self.last_vm()) for _ in range(ROUNDS))
        yield figure("machine-found", took, "ms from the last key, 250 of them a pause for more keys", against=machines)

    def last_vm(self):
        return Records(self.stack).query("SELECT display_name FROM vm ORDER BY host_id DESC, uuid DESC LIMIT 1")[0][0]

    def live(self):
        """From the moment at which an agent tells of a step of its progress until the job's page shows it, or a later one."""
        self.fleet.ask("reports", REPORTS, REPORT_MS)
        before = len(self.fleet.ask("reported"))
        started = self.stack.umbra("backup", "run", self.last_vm())
        if started.status != 0:
            raise RuntimeError(str(started))
        job = started.last["name"]
        self.browser.ask("watch", job=job.split("/")[-1], total=f"{REPORTS} MiB")
        wait_for(lambda: self.stack.job(job)["state"] in ("STATE_SUCCEEDED", "STATE_FAILED"), 60 + REPORTS * REPORT_MS / 1000, "the backup should end", pause_s=0.5)
        self.fleet.ask("reports", 0, 0)
        reported = self.fleet.ask("reported")[before:]
        seen = self.browser.ask("seen")
        steps = [step for step, _ in seen]
        delays = []
        for step, moment in enumerate(reported, 1):
            at = bisect.bisect_left(steps, step)
            # Those before the page was there, and the last ones, which the job's end overtakes, say nothing.
            if steps and step > steps[0] and at < len(steps):
                delays.append((seen[at][1] - moment) * 1000)
        delays.sort()
        p99 = fleet_bench.quantile(delays, 0.99)
        yield figure("progress-visible-p50", fleet_bench.quantile(delays, 0.5), "ms", against=f"{len(delays)} reports, one every {REPORT_MS} ms")
        yield figure("progress-visible-p99", p99, "ms", f"<= {GOALS['visible']}", p99 <= GOALS["visible"])

    def idle(self):
        pid = self.stack.daemon.pid()
        paths = self.browser.ask("requests")
        time.sleep(SUMS_S)
        alone = self._used(pid, 10)
        cpu = fleet_bench.cpu_s(pid)
        self.browser.ask("open", pages=REAL)
        clients = [Client(self.address, self.token, paths) for _ in range(OPEN - REAL)]
        try:
            for client in clients:
                client.start()
            for client in clients:
                if not client.listening.wait(120):
                    raise RuntimeError("a client doesn't hear events")
            opening = fleet_bench.cpu_s(pid) - cpu
            time.sleep(2)
            at_first = self._used(pid, IDLE_S)
            time.sleep(max(0, SUMS_S - IDLE_S))
            self.browser.ask("asked")
            used = self._used(pid, IDLE_S)
            asked = self.browser.ask("asked")
        finally:
            for client in clients:
                client.close()
        yield figure("opening", opening / OPEN * 1000, "ms of processor for each dashboard", against=f"{len(paths)} requests")
        yield figure("idle-without", alone, "cores", against=f"the fleet of {self.fleet.agents} agents alone")
        yield figure(f"idle-{OPEN}-at-first", at_first - alone, "cores more than that", against=f"{IDLE_S} s after they were opened: the sums are counted on")
        yield figure(f"idle-{OPEN}", used - alone, "cores more than that", f"< {GOALS['idle']}", used - alone < GOALS["idle"],
                     f"{REAL} in a browser, which asked {asked} times in {IDLE_S} s, {OPEN - REAL} that make the same requests")

    @staticmethod
    def _used(pid, seconds):
        """Cores."""
        cpu, start = fleet_bench.cpu_s(pid), time.monotonic()
        time.sleep(seconds)
        return (fleet_bench.cpu_s(pid) - cpu) / (time.monotonic() - start)

    def lighthouse(self):
        """Installed by npm below the build folder; without a network there are no figures of it."""
        folder = self.build / "lighthouse"
        program = folder / "node_modules/.bin/lighthouse"
        if not program.exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text('{"private": true}\n')
            done = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "lighthouse@12.8.2"], cwd=folder, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                fleet_bench.say(f"lighthouse can't be installed: {done.stderr[-300:]}")
                return
        report = self.stack.folder / "lighthouse.json"
        command = [program, f"https://{self.address}/", "--preset=desktop", "--only-categories=performance,accessibility", "--output=json", f"--output-path={report}", "--quiet",
                   "--max-wait-for-load=15000", "--chrome-flags=--headless=new --no-sandbox --ignore-certificate-errors", f"--extra-headers={json.dumps({'Authorization': f'Bearer {self.token}'})}"]
        done = subprocess.run(command, env={**os.environ, "CHROME_PATH": "/usr/bin/chromium"}, capture_output=True, text=True, timeout=180)
        if not report.exists():
            fleet_bench.say(f"lighthouse doesn't run here: {done.stderr[-300:]}")
            return
        said = json.loads(report.read_text())
        for name, category in said["categories"].items():
            score = (category["score"] or 0) * 100
            yield figure(f"lighthouse-{name}", score, "of 100", f">= {GOALS['score']}", score >= GOALS["score"], f"version {said['lighthouseVersion']}, desktop, the overview")


def run(folder, build, _cache, only=(), **sizes):
    """Yields the figures, one dictionary each."""
    bench = DashboardBench(folder, build, **{**{name: fleet_bench.SIZES[name] for name in ("agents", "vms")}, **sizes})
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(bench.stop)
        bench.begin()
        for part in only or PARTS:
            yield from getattr(bench, part)()

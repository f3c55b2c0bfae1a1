"""A backup over a long line: 1 Gbit/s, 150 ms round trip. How much of the line is used, and what a cut of it costs.

umbrad and umbra-agent are real processes in network namespaces of their own, with real TLS between them; the line is tests/bench/wan/wan_link.
The agent's machine is a simulated one whose data doesn't compress, so that every byte has to pass. The peer is plain TCP on the same
line in the same run: many connections at once that do nothing but send.
"""
import contextlib
import pathlib
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "deploy/local"))
from stack import Daemon, Stack, StackError, free_port, wait_for  # noqa: E402

RATE_MBIT, ROUND_TRIP_MS = 1000, 150
QUEUE_MS = 150  # of the line's buffer: one round trip, as routers have it
DISK_MIB = 4800  # half of it is noise
CUT_S = 5
CONNECTIONS = 16  # of the plain TCP
MIB = 1024 * 1024
DAEMON_ADDRESS, AGENT_ADDRESS, PORT = "10.75.0.1", "10.75.0.2", 7475

RECEIVE = f"""
import socket, threading
def drain(peer):
    while peer.recv(1 << 20): pass
listener = socket.create_server(("{DAEMON_ADDRESS}", {PORT}), backlog={CONNECTIONS})
print("ready", flush=True)
while True: threading.Thread(target=drain, args=(listener.accept()[0],), daemon=True).start()
"""
SEND = f"""
import socket, threading
def send():
    peer = socket.create_connection(("{DAEMON_ADDRESS}", {PORT}))
    while True: peer.sendall(bytes(1 << 20))
for _ in range({CONNECTIONS}): threading.Thread(target=send).start()
"""


class MeasureError(RuntimeError):
    """A program that was to be measured failed."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Line:
    """Two namespaces and what lies between them."""

    def __init__(self, build, name):
        self.daemon_side, self.agent_side = f"{name}d", f"{name}a"
        self._binary = pathlib.Path(build) / "tests/bench/wan/wan_link"
        self._link = None
        self._lock = threading.Lock()

    def start(self):
        for side in (self.daemon_side, self.agent_side):
            subprocess.run(["ip", "netns", "add", side], check=True)
            subprocess.run(["ip", "-n", side, "link", "set", "lo", "up"], check=True)
        self._link = subprocess.Popen([str(self._binary), self.daemon_side, DAEMON_ADDRESS, self.agent_side, AGENT_ADDRESS, str(RATE_MBIT),
                                       str(ROUND_TRIP_MS // 2), str(QUEUE_MS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._link.stdout.readline().strip() != "ready":
            raise MeasureError("wan_link did not start")

    def stop(self):
        if self._link is not None:
            self._link.stdin.close()
            self._link.wait(10)
        for side in (self.daemon_side, self.agent_side):
            subprocess.run(["ip", "netns", "del", side], check=False, capture_output=True)

    def say(self, word):
        with self._lock:
            print(word, file=self._link.stdin, flush=True)
            return self._link.stdout.readline() if word == "bytes" else None

    def sent_bytes(self):
        """From the agent's side to the daemon's, so far."""
        return int(self.say("bytes").split()[1])

    def run(self, side, script):
        return subprocess.Popen(["ip", "netns", "exec", side, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


class InNamespace(Daemon):
    """A daemon that sees only one end of the line."""

    def __init__(self, daemon, side):
        super().__init__("ip", daemon.log.parent, daemon.name)
        self._command = ["netns", "exec", side, str(daemon.binary)]

    def launch(self, arguments, env=None):
        super().launch([*self._command, *arguments], env)


class FarStack(Stack):
    """umbrad at one end, umbra-agent at the other."""

    def __init__(self, folder, build, line):
        super().__init__(folder, build, "")
        self.machine = ""  # the one that the agent makes when it starts
        self.daemon = InNamespace(self.daemon, line.daemon_side)
        self.agent = InNamespace(self.agent, line.agent_side)

    def _new_config(self):
        return (f'data_dir = "{self.daemon_data}"\n[agents]\nlisten = "{DAEMON_ADDRESS}:{free_port()}"\n'
                f'enrolment_listen = "{DAEMON_ADDRESS}:{free_port()}"\nadvertise = ["{DAEMON_ADDRESS}"]\n'
                f'heartbeat = "{self.heartbeat}"\nlease = "{self.lease}"\n')

    def hypervisor_flags(self):
        return ["--hypervisor", "simulated", "--simulated-vm", f"{self.machine}={DISK_MIB}"]


class Samples:
    """What the line carried, every tenth of a second while a block runs."""

    def __init__(self, line):
        self._line = line
        self._points = [(time.monotonic(), line.sent_bytes())]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _look(self):
        while not self._stop.wait(0.1):
            self._points.append((time.monotonic(), self._line.sent_bytes()))

    def now_bytes(self):
        return self._points[-1][1] - self._points[0][1]

    def span(self):
        """(seconds, bytes) from the first to the last moment at which data moved."""
        busy = [i for i in range(1, len(self._points))
                if self._points[i][1] - self._points[i - 1][1] > MIB / 8]
        first, last = self._points[busy[0] - 1], self._points[busy[-1]]
        return last[0] - first[0], last[1] - first[1]

    def best_rate(self, window_s):
        """Bytes a second over the best stretch of that length."""
        best = 0.0
        for i, (time_a, bytes_a) in enumerate(self._points):
            later = next(((t, b) for t, b in self._points[i:] if t - time_a >= window_s), None)
            if later is not None:
                best = max(best, (later[1] - bytes_a) / (later[0] - time_a))
        return best


def plain_tcp(line):
    """Bytes a second of many plain connections, in their best three seconds."""
    with contextlib.ExitStack() as cleanup:
        for side, script in ((line.daemon_side, RECEIVE), (line.agent_side, SEND)):
            process = line.run(side, script)
            cleanup.callback(process.wait, 10)
            cleanup.callback(process.kill)
            if script is RECEIVE:
                process.stdout.readline()
        with Samples(line) as samples:
            time.sleep(12)
    return samples.best_rate(3)


def backup(line, stack, name, during=lambda samples: None):
    """The samples of a backup of a new machine full of noise."""
    shutil.rmtree(stack.agent_data / "simulated", ignore_errors=True)
    stack.machine = name
    stack.start_agent(timeout_s=120)
    stack.wait_vm(name, lambda vm: vm.get("state") == "VIRTUAL_MACHINE_STATE_RUNNING")
    with Samples(line) as samples:
        following = stack.follow("backup", "run", name)
        during(samples)
        result = following.result(timeout=600)
    if result.status != 0:
        raise MeasureError(str(result))
    return samples


def cut_in_the_middle(line):
    def during(samples):
        wait_for(lambda: samples.now_bytes() > DISK_MIB / 4 * MIB, 300, "half of the data should be sent")
        line.say("cut")
        time.sleep(CUT_S)
        line.say("mend")
    return during


def figure(name, value, unit, goal="", ok=None, against="", ratio=None):
    return {"name": f"wan/{name}", "value": round(value, 2), "unit": unit, "against": against,
            "ratio": None if ratio is None else round(ratio, 3), "goal": goal, "ok": ok}


def run(folder, build, _cache):
    """Yields the figures, one dictionary each."""
    line = Line(build, "uwan")
    stack = FarStack(pathlib.Path(folder) / "u", build, line)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(line.stop)
        line.start()
        peer = plain_tcp(line)
        say(f"plain TCP: {peer / MIB:.1f} MiB/s")
        cleanup.callback(stack.stop)
        stack.start_daemon()
        whole_s, whole_bytes = backup(line, stack, "far").span()
        rate = whole_bytes / whole_s
        say(f"backup: {whole_bytes / MIB:.0f} MiB in {whole_s:.1f} s")
        yield figure("upload", rate / MIB, "MiB/s", ">= 0.85", rate / peer >= 0.85, f"plain TCP {peer / MIB:.1f} MiB/s", rate / peer)
        for name, daemon in (("agent", stack.agent), ("daemon", stack.daemon)):
            peak = daemon.peak_rss_bytes() / MIB
            yield figure(f"{name}-memory-peak", peak, "MiB", "< 128", peak < 128)
        stack.agent.stop()
        try:
            cut_s, cut_bytes = backup(line, stack, "cut", cut_in_the_middle(line)).span()
        except (MeasureError, StackError) as error:
            say(str(error))
            yield figure(f"cut-of-{CUT_S}-s", 0, "s more", "resumes", False)
            return
        more_s = cut_s - whole_s
        say(f"backup with a cut: {cut_bytes / MIB:.0f} MiB in {cut_s:.1f} s")
        yield figure(f"cut-of-{CUT_S}-s", more_s, "s more", f"resumes, < {CUT_S + 10}", more_s < CUT_S + 10)

"""umbrad and umbra-agent under one folder, started by hand: for quickstart, the end-to-end tests, the benchmarks.

The daemons outlive this program. A file with pid and start time tells them from a stranger that got the same pid later.
"""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

REPO = pathlib.Path(__file__).resolve().parents[2]


class StackError(RuntimeError):
    """A daemon did not do what was asked; the text ends with the last line of its log."""


def wait_for(condition, timeout_s, what, pause_s=0.05):
    """The first true answer of `condition`; StackError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise StackError(f"{what}: not within {timeout_s} s")
        time.sleep(pause_s)


def free_port():
    """A TCP port of the loopback that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_ticks(pid):
    """When a process started, in clock ticks since the machine did, as text; None when it is gone or only a zombie."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Daemon:
    """One program that runs in the background: its log, its pid, its end."""

    def __init__(self, binary, folder, name):
        self.binary = pathlib.Path(binary)
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        self.pid_file = pathlib.Path(folder) / f"{name}.pid"
        self._child = None

    def pid(self):
        """The running program's process id, or None."""
        if self._child is not None:  # exactly: a killed program counts until its last thread has gone
            return self._child.pid if self._child.poll() is None else None
        try:
            pid, start = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if start_ticks(pid) == start else None

    def launch(self, arguments, env=None):
        """Starts the program in a session of its own, so that it stays when the terminal closes."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self._child = subprocess.Popen([str(self.binary), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, start_new_session=True, env={**os.environ, **(env or {})})
        self.pid_file.write_text(f"{self._child.pid} {start_ticks(self._child.pid)}\n")

    def status(self):
        """Exit status of a program that this one started and that has ended; None while it runs."""
        return None if self._child is None else self._child.poll()

    def signal(self, number):
        pid = self.pid()
        if pid is not None:
            os.kill(pid, number)

    def wait_end(self, timeout_s):
        wait_for(lambda: self.pid() is None, timeout_s, f"{self.name} should have ended")
        self.pid_file.unlink(missing_ok=True)
        return self.status()

    def stop(self, timeout_s=30):
        """Asks it to end and waits; its exit status when this program started it."""
        self.signal(signal.SIGTERM)
        return self.wait_end(timeout_s)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait_end(10)

    def last_words(self):
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return lines[-1] if lines else "empty log"

    def wait_ready(self, condition, timeout_s, what):
        """Waits for `condition`, but not for a program that has ended."""
        def ready():
            if self.pid() is None:
                raise StackError(f"{self.name} ended: {self.last_words()}")
            return condition()
        try:
            return wait_for(ready, timeout_s, what)
        except StackError as error:
            raise StackError(f"{error}; {self.last_words()}") from None

    def peak_rss_bytes(self):
        """Most memory it ever had resident."""
        for line in pathlib.Path(f"/proc/{self.pid()}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise StackError(f"no VmHWM of {self.name}")


class Result:
    """What a run of `umbra --json` gave: exit status, the objects that it printed, and its talk."""

    def __init__(self, status, objects, talk):
        self.status = status
        self.objects = objects
        self.talk = talk

    @property
    def last(self):
        return self.objects[-1] if self.objects else {}

    @property
    def reason(self):
        """Why it failed, as a stable reason; of the job when a job was followed."""
        return self.last.get("error", {}).get("reason", "")

    @property
    def message(self):
        return self.last.get("error", {}).get("message", "")

    def __str__(self):
        return f"status {self.status}, {json.dumps(self.last)[:2000]} {self.talk}"


class Stack:
    """A daemon, an agent and the command line, with everything they own below `folder`."""

    def __init__(self, folder, build, libvirt_uri):
        """`build`: the CMake build folder that holds the three programs."""
        build = pathlib.Path(build)
        self.folder = pathlib.Path(folder)
        self.libvirt_uri = libvirt_uri
        self.daemon_data = self.folder / "umbrad"
        self.agent_data = self.folder / "agent"
        self.restored = self.folder / "restored"  # disks of new virtual machines
        self.socket = self.daemon_data / "umbrad.sock"
        self.config = self.folder / "umbrad.toml"
        self.dashboard = None  # folder of the built dashboard; then the API is there over HTTPS too
        self.heartbeat, self.lease, self.inventory_seconds = "5s", "60s", 5
        self.cli = build / "server/cli/umbra"
        self.daemon = Daemon(build / "server/umbrad", self.folder, "umbrad")
        self.agent = Daemon(build / "agent/umbra-agent", self.folder, "umbra-agent")

    # umbrad

    def start_daemon(self, *flags, env=None, timeout_s=20):
        """Returns when it answers."""
        self.daemon_data.mkdir(parents=True, exist_ok=True)
        if not self.config.exists():
            self.config.write_text(self._new_config())
        elif self.dashboard:
            self._point_to_dashboard()
        self._addresses_file().unlink(missing_ok=True)
        self.daemon.launch(["--config", self.config, *flags], env)
        self.daemon.wait_ready(lambda: self._addresses_file().exists() and self.umbra("repository", "list").status == 0,
                               timeout_s, "umbrad should answer")

    def _new_config(self):
        """Ports are chosen once: agents come back to the address that they enrolled with."""
        return (f'data_dir = "{self.daemon_data}"\n[agents]\nlisten = "127.0.0.1:{free_port()}"\n'
                f'enrolment_listen = "127.0.0.1:{free_port()}"\nadvertise = ["127.0.0.1"]\n'
                f'heartbeat = "{self.heartbeat}"\nlease = "{self.lease}"\n'
                + (self._http_section() if self.dashboard else ""))

    def _http_section(self):
        return f'[http]\nlisten = "127.0.0.1:{free_port()}"\ndashboard_dir = "{self.dashboard}"\n'

    def _point_to_dashboard(self):
        """A configuration from before the dashboard, or from sources that lay elsewhere."""
        text = self.config.read_text()
        if "[http]" not in text:
            self.config.write_text(text + self._http_section())
        else:
            self.config.write_text(re.sub(r"(?m)^dashboard_dir = .*$", lambda _: f'dashboard_dir = "{self.dashboard}"', text))

    def _addresses_file(self):
        return self.daemon_data / "umbrad.addresses"

    def addresses(self):
        return json.loads(self._addresses_file().read_text())

    # umbra-agent

    def new_token(self):
        return self.umbra("host", "token").last["token"]

    def enrolled(self):
        return (self.agent_data / "identity.pem").exists()

    def start_agent(self, *flags, env=None, online=True, timeout_s=30):
        """Enrols it when it is new. Returns when the daemon sees it online, unless `online` is False."""
        self.agent.launch([*self._agent_flags(), *flags], env)
        if online:
            self.agent.wait_ready(self.online, timeout_s, "umbra-agent should be online")

    def _agent_flags(self):
        flags = ["--data-dir", self.agent_data, "--inventory-seconds", self.inventory_seconds, *self.hypervisor_flags()]
        if not self.enrolled():
            self.agent_data.mkdir(parents=True, exist_ok=True)
            flags += ["--daemon", self.addresses()["enrolment_address"], "--token", self.new_token()]
        return flags

    def hypervisor_flags(self):
        return ["--hypervisor", "libvirt", "--libvirt-uri", self.libvirt_uri, "--default-folder", self.restored]

    def online(self):
        return any(host.get("state") == "STATE_ONLINE" for host in self.umbra("host", "list").objects)

    def stop(self):
        """Ends both; True when one was running."""
        running = [daemon for daemon in (self.agent, self.daemon) if daemon.pid() is not None]
        for daemon in running:
            daemon.stop()
        return bool(running)

    # umbra

    def command(self, *args):
        return [str(self.cli), "--socket", str(self.socket), *map(str, args)]

    def umbra(self, *args, timeout=300):
        """Runs `umbra --json ARGS` to its end."""
        done = subprocess.run(self.command("--json", *args), capture_output=True, text=True, timeout=timeout, check=False,
                              stdin=subprocess.DEVNULL)
        return Result(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.strip())

    def follow(self, *args):
        """Starts `umbra --json ARGS --watch`; iterate over it for the job's states as they come."""
        return Following(self.command("--json", *args, "--watch"))

    def vm(self, name):
        """The machine as the daemon knows it, or None."""
        return next((vm for vm in self.umbra("vm", "list").objects if vm.get("displayName") == name), None)

    def wait_vm(self, name, condition=lambda vm: True, timeout_s=60):
        """Waits until the inventory has a machine that fits."""
        def fits():
            vm = self.vm(name)
            return vm if vm is not None and condition(vm) else None
        return wait_for(fits, timeout_s, f"{name} should be in the inventory", pause_s=0.2)

    def points(self, vm=None):
        return self.umbra("recovery-point", "list", "--limit", 0, *(["--vm", vm] if vm else [])).objects

    def job(self, name):
        return self.umbra("job", "show", name).last


class Following:
    """A running `umbra ... --watch --json`."""

    def __init__(self, command):
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                         stdin=subprocess.DEVNULL)
        self._objects = []

    def __iter__(self):
        for line in self._process.stdout:
            self._objects.append(json.loads(line))
            yield self._objects[-1]

    def until(self, condition):
        """The first state for which `condition` is true, or None when the job ended before."""
        return next((job for job in self if condition(job)), None)

    def result(self, timeout=300):
        """Waits for the end."""
        out, err = self._process.communicate(timeout=timeout)
        self._objects += [json.loads(line) for line in out.splitlines()]
        return Result(self._process.returncode, self._objects, err.strip())


def seconds(duration):
    """A protobuf duration in JSON ("0.134s") as a number."""
    return float(duration.removesuffix("s")) if duration else 0.0


def number(message, field):
    """A 64-bit field, which JSON carries as text and leaves out when it is zero."""
    return int(message.get(field, 0))


def transferring(job):
    """True while data moves and some of it has."""
    return job.get("phase") == "PHASE_TRANSFERRING" and number(job.get("progress", {}), "doneBytes") > 0

"""The world of the end-to-end tests: one lab, one daemon, one agent, one guest that writes; and what must hold after every test."""
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local"), str(REPO / "tests/support")]
from lab import Lab  # noqa: E402
from stack import Stack, wait_for  # noqa: E402

GUEST = "db"
FILL_MIB = 384  # so much that a copy lasts long enough to be disturbed
SMALL_SCRATCH_MIB = 72  # an agent does not begin with less than 64 free
SMALL_REPOSITORY_MIB = 64
ENDED = ("STATE_SUCCEEDED", "STATE_FAILED", "STATE_CANCELLED")


class World:
    """Everything lives below one short folder in /tmp; small file systems are mounted before the lab starts, so that it sees them."""

    def __init__(self, build, cache, fill_mib=FILL_MIB):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ue2e.", dir="/tmp"))
        self.build = pathlib.Path(build)
        self.fill_mib = fill_mib
        self.lab = Lab(self.root / "lab", cache)
        self.stack = Stack(self.root / "main", self.build, self.lab.uri)
        self.stack.heartbeat, self.stack.lease, self.stack.inventory_seconds = "1s", "10s", 1  # so that waiting is short
        self.small_scratch = self.root / "s"
        self.small_repository = self.root / "small-repository"
        self._mounts = []

    def start(self):
        self._mount(self.small_scratch, SMALL_SCRATCH_MIB)
        self._mount(self.small_repository, SMALL_REPOSITORY_MIB)
        self.lab.start()
        self.lab.create(GUEST, "--fill-mib", self.fill_mib)
        self.stack.start_daemon()
        self.lab.wait_agent(GUEST)
        self.stack.start_agent()
        self.wait_ready()

    def wait_ready(self, name=GUEST):
        return self.stack.wait_vm(name, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_CHILD_SNAPSHOT")

    def _mount(self, folder, mib):
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "umbra-e2e", str(folder)], check=True)
        self._mounts.append(folder)

    def stop(self, keep):
        self.resume_daemon()
        self.stack.stop()
        self.lab.stop()
        if keep:
            print(f"kept: {self.root}", file=sys.stderr)
            return
        for folder in self._mounts:
            subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    # Jobs

    def backup(self, *flags, vm=GUEST):
        return self.stack.umbra("backup", "run", vm, "--watch", *flags)

    def begin(self, *command):
        """Starts a job and returns its name at once."""
        return self.stack.umbra(*command).last["name"]

    def ended(self, job, timeout_s=90):
        """The job as it ended."""
        def look():
            now = self.stack.job(job)
            return now if now.get("state") in ENDED else None
        return wait_for(look, timeout_s, f"{job} should end", pause_s=0.1)

    def hold_mid_copy(self, *flags, vm=GUEST):
        """Starts a backup and stops the daemon (SIGSTOP) while its copy goes on: the copy waits, the guest's view stays open.

        Nothing is seen of the guest through the daemon until resume_daemon.
        """
        for _ in range(5):
            job = self.begin("backup", "run", vm, "--full", *flags)  # an increment might be over too soon
            wait_for(lambda: self.lab.has_backup_job(vm), 30, "the backup's view should open", pause_s=0.01)
            self.stack.daemon.signal(signal.SIGSTOP)
            time.sleep(0.3)  # an agent that needs nothing more of the daemon closes its view within that
            if self.lab.has_backup_job(vm):
                wait_for(lambda: not self.lab.frozen(vm), 10, "the guest should be thawed")
                return job
            self.resume_daemon()  # on a busy machine the copy was over before it was stopped
            self.ended(job)
        raise AssertionError("five copies were over before the daemon could be stopped")

    def resume_daemon(self):
        self.stack.daemon.signal(signal.SIGCONT)

    # What must be true whenever no job runs

    def scratch_files(self):
        """Scratch files and sockets that the agent's backups have left."""
        folders = [self.stack.agent_data / "scratch", self.small_scratch]
        return [path for folder in folders if folder.exists() for path in folder.rglob("*") if not path.is_dir()]

    def leftovers(self, vm=GUEST):
        """Everything that a backup may have and must not leave, in words; empty when the host is clean."""
        found = [f"file {path}" for path in self.scratch_files()]
        if not self.lab.exists(vm):
            return [f"{vm} is gone"]
        if self.lab.state(vm) != "running":
            found.append(f"{vm} is {self.lab.state(vm)}")
        elif self.lab.frozen(vm):
            found.append(f"{vm} is frozen")
        if self.lab.has_backup_job(vm):
            found.append(f"{vm} has a backup job")
        ours = self.lab.our_checkpoints(vm)  # the one that the next increment counts from may stay
        found += [f"{vm} has checkpoint {name}" for name in self.lab.checkpoints(vm) if name not in ours]
        if len(ours) > 1:
            found.append(f"{vm} has {len(ours)} checkpoints of ours: {ours}")
        return found

    def writes(self, vm=GUEST):
        """Whether the guest commits rows."""
        before = self.lab.rows(vm)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.lab.rows(vm) > before:
                return True
        return False

    def repair(self):
        """Makes the world fit for the next test, whatever the last one did."""
        self.resume_daemon()
        if self.stack.daemon.pid() is None:
            self.stack.start_daemon()
        if self.stack.agent.pid() is None or not self.stack.online():
            self.stack.agent.stop()
            self.stack.start_agent()
        if self.lab.state(GUEST) == "undefined":
            self.lab.create(GUEST, "--fill-mib", self.fill_mib)
        elif self.lab.state(GUEST) == "shut off":
            self.lab.virsh("start", GUEST)
        self.lab.wait_agent(GUEST)
        self.wait_ready()

    def restart_daemon(self):
        self.stack.daemon.stop()
        self.stack.start_daemon()
        self.wait_ready()

    def restart_agent(self, *flags, env=None):
        self.stack.agent.stop()
        self.stack.start_agent(*flags, env=env)
        self.wait_ready()


WORLD = None  # set by run.py before any test runs


class EndToEndTest(unittest.TestCase):
    """A test in the world. Afterwards nothing of a backup is left on the host and the guest runs, or the test fails."""

    clean_after = True

    @property
    def world(self):
        return WORLD

    @property
    def lab(self):
        return self.world.lab

    @property
    def stack(self):
        return self.world.stack

    def setUp(self):
        self.world.repair()
        self.points_before = {point["name"] for point in self.stack.points()}

    def tearDown(self):
        if self.clean_after:
            self.assert_clean()

    def assert_clean(self, vm=GUEST):
        leftovers = self.world.leftovers(vm)
        deadline = time.monotonic() + 10  # the end of a job is told before its agent has slept
        while leftovers and time.monotonic() < deadline:
            time.sleep(0.2)
            leftovers = self.world.leftovers(vm)
        self.assertEqual(leftovers, [])

    def assert_succeeded(self, result):
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(result.last.get("state"), "STATE_SUCCEEDED", str(result))
        return result.last

    def assert_failed(self, job, *reasons):
        self.assertEqual(job.get("state"), "STATE_FAILED", json.dumps(job))
        self.assertIn(job.get("error", {}).get("reason"), reasons, json.dumps(job))
        self.assertTrue(job["error"].get("message"), "an error needs words")

    def assert_nothing_visible(self):
        """No recovery point has appeared since the test began."""
        self.assertEqual({point["name"] for point in self.stack.points()}, self.points_before)

    def new_machine(self, name, *options):
        """A machine that is gone after the test."""
        self.addCleanup(self.lab.destroy, name)
        self.lab.create(name, *options)

    def restored(self, name):
        """Names a machine that a restore will make, to be gone after the test."""
        self.addCleanup(self.remove_machine, name)
        return name

    def remove_machine(self, name):
        if self.lab.exists(name):
            disks = self.lab.disk_paths(name)
            self.lab.destroy(name)
            for path in disks.values():
                pathlib.Path(path).unlink(missing_ok=True)


def tcp_connect(address, timeout_s=5):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout_s)


"""What the walks share: what must hold after a death, and the two worlds in which a daemon or an agent dies.

The agent's deaths need a hypervisor that outlives it: libvirt, with one small guest for the whole walk. The daemon's deaths need no
guest: there the agent drives its simulated hypervisor.
"""
import pathlib
import re
import shutil
import sys
import tempfile

import points
from stack import Stack, wait_for
from world import ENDED, GUEST, EndToEndTest, World

CRASH_TIMEOUT_S = 60
FILL_MIB = 0  # a copy may be short: it is cut by a crash point, not by a clock
FOREIGN_CHECKPOINT = "somebody-elses"
FOREIGN_TEXT = "not ours\n"
REASONS_FILE = points.REPO / "proto/umbra/v1/error_reasons.proto"


class Options:
    """Of the whole run; set by run.py before any test runs."""

    build = str(points.REPO / "build/dev")
    cache = str(points.REPO / "build/lab-cache")
    keep = False
    reporter = None

    @classmethod
    def keeps(cls):
        """Whether a world's folder stays when it ends."""
        return cls.keep or (cls.reporter is not None and any(failure for _, _, failure in cls.reporter.cases))


def stable_reasons():
    return set(re.findall(r"ERROR_REASON_(\w+) =", REASONS_FILE.read_text()))


def add_tests(case, names, walk):
    """A test for each point, in this order; `walk` is called with the test and the point's name."""
    for number, name in enumerate(names, 1):
        setattr(case, f"test_{number:02}_{name}", lambda self, name=name: walk(self, name))


class WalkTest(EndToEndTest):
    """What is said of the job, the catalog and the files, whatever the hypervisor."""

    def point_names(self):
        return {point["name"] for point in self.stack.points()}

    def files_of_agent(self):
        """What a running job keeps: intents, ledgers of restores, deeds in a cluster, scratch files."""
        found = set()
        for folder in ("intents", "restores", "cluster-deeds", "scratch"):
            found |= {path for path in (self.stack.agent_data / folder).rglob("*") if not path.is_dir()}
        return found

    def wait_death(self, daemon, name):
        wait_for(lambda: daemon.pid() is None, CRASH_TIMEOUT_S, f"crash point {name} should be passed")
        self.assertEqual(daemon.status(), -9)

    def assert_ended(self, job, before, succeeded=None):
        """The job has ended, as expected when that is known, and shows points exactly when it succeeded."""
        new = self.point_names() - before
        if succeeded is None:
            succeeded = job["state"] == "STATE_SUCCEEDED"
        if succeeded:
            self.assertEqual(job["state"], "STATE_SUCCEEDED", job)
            self.assertEqual(new, set(job.get("recoveryPoints", [])))
            return
        self.assertIn(job["state"], ("STATE_FAILED", "STATE_CANCELLED"), job)
        if job["state"] == "STATE_FAILED":
            self.assertIn(job["error"]["reason"], stable_reasons(), job)
            self.assertTrue(job["error"]["message"], "an error needs words")
        self.assertEqual(new, set(), "nothing of it is visible")


class LibvirtWorld(World):
    """The end-to-end tests' world with a small guest, and things of somebody else wherever we leave something for a while."""

    def __init__(self):
        super().__init__(Options.build, Options.cache, FILL_MIB)

    def start(self):
        super().start()
        folder = self.lab.root / "vms" / GUEST
        self.foreign = [self.stack.agent_data / "scratch/other-tool.scratch", self.stack.agent_data / "intents/read-me",
                        self.stack.agent_data / "restores/read-me", folder / "vda.qcow2.other", folder / "notes.umbra-restore", self.stack.restored / "other/vda.qcow2"]
        for path in self.foreign:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FOREIGN_TEXT)
        self.lab.virsh("checkpoint-create-as", GUEST, FOREIGN_CHECKPOINT)

    def leftovers(self, vm=GUEST):
        """As of World, of what is ours; and what is missing of what isn't."""
        found = [line for line in super().leftovers(vm)
                 if not any(line.endswith(str(end)) for end in (*self.foreign, FOREIGN_CHECKPOINT))]
        found += [f"{path} was touched" for path in self.foreign if not path.exists() or path.read_text() != FOREIGN_TEXT]
        return found


_SHARED = []


def started(world):
    """`world`, started; when that fails, stopped again, with what it left kept."""
    try:
        world.start()
    except Exception:
        world.stop(True)
        raise
    return world


def shared_lab():
    """The one libvirt world of a run, started when it is first asked for. run.py ends it."""
    if not _SHARED:
        _SHARED.append(started(LibvirtWorld()))
    return _SHARED[0]


def end_shared_lab():
    while _SHARED:
        _SHARED.pop().stop(Options.keeps())


class SimulatedStack(Stack):
    """An agent whose only machine is made when it starts and is gone when it ends."""

    def start_agent(self, *flags, env=None, online=True, timeout_s=30):
        shutil.rmtree(self.agent_data / "simulated", ignore_errors=True)  # the files of machines that are gone
        super().start_agent(*flags, env=env, online=online, timeout_s=timeout_s)

    def hypervisor_flags(self):
        return ["--hypervisor", "simulated", "--simulated-vm", f"{GUEST}=8"]


class SimulatedWorld:
    """A daemon and an agent with a simulated machine."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ucrash.", dir="/tmp"))
        self.stack = SimulatedStack(self.root, Options.build, "")
        self.stack.heartbeat, self.stack.lease, self.stack.inventory_seconds = "1s", "6s", 1

    def start(self):
        self.stack.start_daemon()
        self.stack.start_agent()
        self.wait_ready()

    def stop(self, keep):
        self.stack.agent.signal(18)  # SIGCONT: a test that failed may have left it stopped
        self.stack.stop()
        if keep:
            print(f"kept: {self.root}", file=sys.stderr)
        else:
            shutil.rmtree(self.root, ignore_errors=True)

    def wait_ready(self):
        """The agent is connected and its machine can be backed up."""
        wait_for(lambda: self.stack.agent.pid() is not None and self.stack.online(), 60, "the agent should be online")
        return self.stack.wait_vm(GUEST, lambda vm: vm.get("state") == "VIRTUAL_MACHINE_STATE_RUNNING")

    def ended(self, job, timeout_s=60):
        """The job as it ended."""
        def look():
            now = self.stack.job(job)
            return now if now.get("state") in ENDED else None
        return wait_for(look, timeout_s, f"{job} should end", pause_s=0.1)

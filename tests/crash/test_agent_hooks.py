"""umbra-agent killed at every named point of a backup's hooks, and while a hook runs; and started again.

A post hook has run once its pre hook may have begun, however the backup ended, and before the agent is online again; nothing is owed
then. Needs no guest.
"""
import points
import walk
from stack import wait_for
from walk import GUEST, SimulatedStack, SimulatedWorld, WalkTest, add_tests

WORLD = None
HOOKS_SECONDS = 20


class HooksStack(SimulatedStack):
    def hypervisor_flags(self):
        return [*super().hypervisor_flags(), "--config", self.folder / "agent.toml"]


class HooksWorld(SimulatedWorld):
    def __init__(self):
        super().__init__()
        self.stack = HooksStack(self.root, walk.Options.build, "")
        self.stack.heartbeat, self.stack.lease, self.stack.inventory_seconds = "1s", "6s", 1
        self.log, self.gate = self.root / "hooks.log", self.root / "gate"

    def add_hook(self, name, script):
        path = self.root / "hooks" / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self):
        (self.root / "agent.toml").write_text(f'[hooks]\nfolder = "{self.root}/hooks"\nseconds_max = {HOOKS_SECONDS}\n')
        self.add_hook("before", f'echo "pre $UMBRA_VM_NAMES" >>{self.log}; echo it is quiet')
        self.add_hook("after", f'echo "post $UMBRA_VM_NAMES $UMBRA_RESULT" >>{self.log}')
        self.add_hook("wait", f'echo waiting >>{self.log}; while [ ! -e {self.gate} ]; do sleep 0.05; done')
        self.add_hook("broken", "echo the disk is on fire >&2; exit 7")
        super().start()


def setUpModule():  # noqa: N802 (unittest's name)
    global WORLD
    WORLD = walk.started(HooksWorld())


def tearDownModule():  # noqa: N802
    WORLD.stop(walk.Options.keeps())


class HooksTest(WalkTest):
    clean_after = False

    @property
    def world(self):
        return WORLD

    def setUp(self):
        if self.stack.agent.pid() is None:
            self.stack.start_agent()
        self.world.wait_ready()
        self.world.log.write_text("")

    def said(self):
        return self.world.log.read_text().splitlines()

    def owed(self):
        return list((self.stack.agent_data / "hook-intents").glob("*"))

    def events_of(self, job):
        return self.stack.umbra("event", "list", "--resource", job).objects

    # Without a death

    def test_00_a_policy_runs_them_around_its_jobs(self):
        made = self.stack.umbra("policy", "create", "hooked", "--select", f"name={GUEST}", "--pre-hook", "before", "--post-hook", "after",
                                "--no-saved-state")
        self.assertEqual(made.status, 0, str(made))
        self.assertEqual(made.last["hooks"], {"pre": "before", "post": "after"})
        job = self.stack.umbra("policy", "run", "hooked").last["jobs"][0]
        self.assert_ended(self.world.ended(job), set(), succeeded=True)
        self.assertEqual(self.said(), [f"pre {GUEST}", f"post {GUEST} succeeded"])
        notes = [event["message"] for event in self.events_of(job) if event["type"] == "JOB_NOTE"]
        self.assertEqual(len(notes), 2, notes)
        self.assertIn("it is quiet", notes[0])
        self.assertEqual(self.owed(), [])

    def test_01_a_pre_hook_that_fails(self):
        before = self.point_names()
        result = self.stack.umbra("backup", "run", GUEST, "--pre-hook", "broken", "--post-hook", "after", "--watch")
        self.assertEqual(result.reason, "HOOK_FAILED", str(result))
        self.assertIn("the disk is on fire", result.message)
        self.assertEqual(self.said(), [f"post {GUEST} failed"])
        self.assertEqual(self.point_names(), before)
        result = self.stack.umbra("backup", "run", GUEST, "--pre-hook", "broken", "--ignore-pre-hook-failure", "--watch")
        self.assert_succeeded(result)
        self.assertIn("HOOK_FAILED", [warning["reason"] for warning in result.last["warnings"]])

    def test_02_only_the_hosts_own_programs(self):
        for name, reason in (("missing", "HOOK_NOT_FOUND"), ("/bin/true", "INVALID_REQUEST"), ("../hooks/before", "INVALID_REQUEST")):
            result = self.stack.umbra("backup", "run", GUEST, "--pre-hook", name, "--watch")
            self.assertEqual(result.reason, reason, str(result))
        self.assertEqual(self.said(), [])

    def test_03_killed_while_a_hook_runs(self):
        job = self.stack.umbra("backup", "run", GUEST, "--pre-hook", "wait", "--post-hook", "after").last["name"]
        wait_for(lambda: self.said() == ["waiting"], 20, "the hook should run")
        self.assertEqual(len(self.owed()), 1)
        self.stack.agent.kill()
        self.world.gate.write_text("")
        self.stack.start_agent()
        self.assertEqual(self.said(), ["waiting", f"post {GUEST} failed"], "before it is online")
        self.assertEqual(self.owed(), [])
        self.assert_ended(self.world.ended(job), self.point_names(), succeeded=False)

    def walk(self, name):
        before = self.point_names()
        self.stack.agent.stop()
        self.stack.start_agent(env={"UMBRA_CRASH_POINT": name})
        self.world.wait_ready()
        job = self.stack.umbra("backup", "run", GUEST, "--pre-hook", "before", "--post-hook", "after").last["name"]
        self.wait_death(self.stack.agent, name)
        self.stack.start_agent()
        self.assertEqual(self.said()[-1], f"post {GUEST} failed", "what was owed is made good")
        self.assertEqual(self.owed(), [])
        self.assert_ended(self.world.ended(job), before)


add_tests(HooksTest, points.names_in(points.HOOKS), HooksTest.walk)

"""umbra-agent killed at every named point of a backup and of a restore of a real guest, and started again.

Whatever the moment: the guest is as it was before (running and not frozen, or off), no backup job, second checkpoint, scratch file, intent or
partial restore of ours is left, and everything of somebody else is. A job that had committed has succeeded and its recovery point can be
restored whole; any other has failed with a reason and shows nothing. The next backup or restore works.
"""
import pathlib

import points
import walk
from walk import FOREIGN_CHECKPOINT, GUEST, WalkTest, add_tests

COMMITTED = ("agent.committed", "agent.before_complete", "agent.view_closed", "agent.save.removed")
REGISTERED = ("agent.defined", "agent.restore.defined")  # the restored machine is there
# In place, nothing has happened to the machine yet.
UNTOUCHED = ("agent.before_delete",)
# In place, from here on the disks are those of the recovery point.
RENAMED = ("agent.restore.renaming", "agent.restore.files_written", "agent.before_define", *REGISTERED)
# A guest that stood still before is saved, but neither stopped nor let go on.
OF_PAUSED = ("agent.save.recorded", "agent.save.saved", "agent.save.removed")
BARE = "bare"
WORLD = None


def setUpModule():  # noqa: N802 (unittest's name)
    global WORLD
    WORLD = walk.shared_lab()


class AgentTest(WalkTest):
    @property
    def world(self):
        return WORLD

    def killed(self, name, *command):
        """The job during which the agent died at the point, as it ended when the agent was back; and the points before it."""
        self.stack.agent.stop()
        self.stack.start_agent(env={"UMBRA_CRASH_POINT": name})
        before = self.point_names()
        job = self.world.begin(*command)
        self.wait_death(self.stack.agent, name)
        self.stack.start_agent()
        return self.world.ended(job), before

    def assert_only_foreign_files(self):
        """Of intents, ledgers and scratch files; healing comes before the agent is online."""
        self.assertEqual(self.files_of_agent(), {path for path in self.world.foreign if path.is_relative_to(self.stack.agent_data)})

    def restore_new(self, point, name):
        """A restore as a new machine that works, and whose disk keeps every promise."""
        self.assert_succeeded(self.stack.umbra("restore", "run", point, "--name", name, "--watch"))
        self.assert_whole(name)
        self.remove_restored(name)

    def remove_restored(self, name):
        self.remove_machine(name)
        (self.stack.restored / name).rmdir()

    def assert_whole(self, name):
        found = self.lab.verify_disk(self.lab.disk_paths(name)["vda"])
        self.assertTrue(found["kept"], found)
        self.assertFalse(found["needs_recovery"], "it was frozen when the point in time was taken")

    def point(self):
        """A recovery point of the guest."""
        found = self.stack.points(GUEST)
        return found[0]["name"] if found else self.assert_succeeded(self.world.backup())["recoveryPoints"][0]


class AgentInABackup(AgentTest):
    def walk(self, name):
        self.world.wait_ready()
        job, before = self.killed(name, "backup", "run", GUEST)
        succeeded = name in COMMITTED or job["attempt"] > 1  # it died before the daemon knew that it had begun, and was asked again
        self.assert_ended(job, before, succeeded)
        if not succeeded:
            self.assertIn(job["error"]["reason"], ("AGENT_RESTARTED", "AGENT_LOST"))
        self.assert_only_foreign_files()
        self.assert_clean()
        self.assertIn(FOREIGN_CHECKPOINT, self.lab.checkpoints(GUEST))
        self.assertTrue(self.world.writes())
        for point in job.get("recoveryPoints", []):
            self.restore_new(point, "whole")
        self.world.wait_ready()
        self.assert_succeeded(self.world.backup())
        self.assert_clean()


class AgentInARestoreAsNew(AgentTest):
    def walk(self, name):
        point = self.point()
        machine = self.restored("new")
        job, before = self.killed(name, "restore", "run", point, "--name", machine)
        self.assert_ended(job, before, succeeded=False)
        self.assertIn(job["error"]["reason"], ("AGENT_RESTARTED", "AGENT_LOST"))
        self.assert_only_foreign_files()
        if name in REGISTERED:
            self.assertEqual(self.lab.state(machine), "shut off")
            self.assert_whole(machine)
            self.remove_restored(machine)
        else:
            self.assertFalse(self.lab.exists(machine))
            self.assertEqual({path.name for path in self.stack.restored.iterdir()}, {"other"}, "no partial restore is left")
        self.restore_new(point, machine)


class AgentInARestoreInPlace(AgentTest):
    clean_after = False  # the machine is off

    @classmethod
    def setUpClass(cls):
        WORLD.repair()
        WORLD.lab.virsh("checkpoint-delete", GUEST, FOREIGN_CHECKPOINT)  # it belongs to the disk that is replaced
        cls.command = ("restore", "run", WORLD.backup().last["recoveryPoints"][0], "--in-place", "--yes")

    @classmethod
    def tearDownClass(cls):
        """It boots, and all that was promised before its backup is there."""
        WORLD.repair()
        if not WORLD.lab.verify_guest(GUEST)["kept"]:
            raise AssertionError("the restored guest has lost data")

    def setUp(self):
        self.disk = WORLD.lab.root / "vms" / GUEST / "vda.qcow2"
        if self.stack.agent.pid() is None:
            self.stack.start_agent()
        if not self.lab.exists(GUEST):  # the test before has failed
            self.assert_succeeded(self.stack.umbra(*self.command, "--watch"))

    def walk(self, name):
        if self.lab.state(GUEST) == "shut off":
            self.lab.virsh("start", GUEST)
            self.world.wait_ready()
        state, file = self.lab.state(GUEST), self.disk.stat().st_ino
        job, before = self.killed(name, *self.command)
        self.assert_ended(job, before, succeeded=False)
        self.assertIn(job["error"]["reason"], ("AGENT_RESTARTED", "AGENT_LOST"))
        self.assert_only_foreign_files()
        self.assertEqual({path.name for path in self.disk.parent.iterdir()} - {"define.xml"},
                         {"vda.qcow2", "vda.qcow2.other", "notes.umbra-restore"})
        if name in UNTOUCHED:
            self.assertEqual(self.lab.state(GUEST), state)
            self.assertFalse(state == "running" and self.lab.frozen(GUEST))
        else:
            self.assertEqual(self.lab.state(GUEST), "shut off" if name in RENAMED else "running", "with disks that are whole")
        self.assertEqual(self.disk.stat().st_ino != file, name in RENAMED, "all old disks or all new ones")
        if name in RENAMED:
            self.assert_whole(GUEST)
        self.assert_succeeded(self.stack.umbra(*self.command, "--watch"))
        self.assert_whole(GUEST)


class BareGuestTest(AgentTest):
    """Of a guest without an agent, so that its memory is saved."""

    @classmethod
    def setUpClass(cls):
        WORLD.repair()
        WORLD.lab.create(BARE, "--no-agent", "--nic", "none")
        WORLD.stack.wait_vm(BARE, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_SAVED_STATE")

    @classmethod
    def tearDownClass(cls):
        WORLD.lab.destroy(BARE)

    def assert_bare(self, state, run_number):
        self.assertEqual(self.lab.state(BARE), state)
        self.assertEqual(self.lab.virsh("domid", BARE), run_number, "it was never shut down")
        self.assertFalse(self.lab.has_backup_job(BARE))
        self.assert_only_foreign_files()


class AgentInASave(BareGuestTest):
    def walk(self, name):
        run_number = self.lab.virsh("domid", BARE)
        job, before = self.killed(name, "backup", "run", BARE)
        self.assert_ended(job, before, succeeded=name in COMMITTED)
        self.assert_bare("running", run_number)
        self.assert_succeeded(self.world.backup(vm=BARE))
        self.assert_bare("running", run_number)


class AgentInASaveOfAPausedGuest(BareGuestTest):
    def walk(self, name):
        run_number = self.lab.virsh("domid", BARE)
        self.lab.virsh("suspend", BARE)
        job, before = self.killed(name, "backup", "run", BARE)
        self.assert_ended(job, before, succeeded=name in COMMITTED)
        self.assert_bare("paused", run_number)
        self.lab.virsh("resume", BARE)
        self.assert_succeeded(self.world.backup(vm=BARE))
        self.assert_bare("running", run_number)


class AgentInARestoreOfMemory(BareGuestTest):
    """The machine goes on from its saved memory, and then the agent dies."""

    def walk(self, name):
        command = ("restore", "run", self.assert_succeeded(self.world.backup(vm=BARE))["recoveryPoints"][0],
                   "--in-place", "--yes", "--resume-state")
        job, before = self.killed(name, *command)
        self.assert_ended(job, before, succeeded=False)
        self.assert_goes_on()
        self.assert_succeeded(self.stack.umbra(*command, "--watch"))
        self.assert_goes_on()

    def assert_goes_on(self):
        self.assert_bare("running", self.lab.virsh("domid", BARE))
        folder = self.lab.root / "vms" / BARE
        self.assertEqual({path.name for path in folder.iterdir()} - {"define.xml"}, {"vda.qcow2"}, "the memory's file is gone")


BOTH = points.names_in(points.RESTORE)

add_tests(AgentInABackup, points.names_in(points.BACKUP), AgentInABackup.walk)
add_tests(AgentInARestoreAsNew, BOTH, AgentInARestoreAsNew.walk)
add_tests(AgentInARestoreInPlace, points.names_in(points.DELETE, points.RESTORE), AgentInARestoreInPlace.walk)
add_tests(AgentInASave, points.names_in(points.SAVE), AgentInASave.walk)
add_tests(AgentInASaveOfAPausedGuest, [name for name in points.names_in(points.SAVE) if name in OF_PAUSED],
          AgentInASaveOfAPausedGuest.walk)
add_tests(AgentInARestoreOfMemory, points.names_in(points.RESUME), AgentInARestoreOfMemory.walk)

"""umbra-agent killed while a service stands still, and at every named point of a restore of files; and started again.

The restarted agent has thawed the service before it is online; no copy, intent, ledger or unfinished folder is left. The target of the
restore is as it was, or, once it has its name, whole. Needs no guest: a service on this machine writes to SQLite all the time.
"""
import shutil
import subprocess

import points
import walk
from row_service import RowService, check_rows
from stack import wait_for
from walk import GUEST, SimulatedStack, SimulatedWorld, WalkTest, add_tests

WORLD = None


class FilesStack(SimulatedStack):
    def hypervisor_flags(self):
        return [*super().hypervisor_flags(), "--config", self.folder / "agent.toml"]


class FilesWorld(SimulatedWorld):
    def __init__(self):
        super().__init__()
        self.stack = FilesStack(self.root, walk.Options.build, "")
        self.stack.heartbeat, self.stack.lease, self.stack.inventory_seconds = "1s", "6s", 1
        self.service = RowService(self.root / "service")

    def configure(self, **more):
        (self.root / "agent.toml").write_text(self.service.file_set(post_restore=f'["{self.service.hook}"]', **more))

    def start(self):
        self.service.start()
        self.configure()
        super().start()
        wait_for(lambda: self.stack.umbra("file-set", "list").objects, 20, "the file set should be in the inventory")

    def stop(self, keep):
        self.service.stop()
        super().stop(keep)


def setUpModule():  # noqa: N802 (unittest's name)
    global WORLD
    WORLD = walk.started(FilesWorld())


def tearDownModule():  # noqa: N802
    WORLD.stop(walk.Options.keeps())


class FilesTest(WalkTest):
    clean_after = False
    names = 0

    @property
    def world(self):
        return WORLD

    @property
    def service(self):
        return WORLD.service

    def setUp(self):
        if self.stack.agent.pid() is None:
            self.stack.start_agent()
        self.world.wait_ready()
        self.service.forget_events()

    def restart(self, **more):
        """The agent with another configuration."""
        self.stack.agent.stop()
        self.world.configure(**more)
        self.stack.start_agent()
        self.world.wait_ready()

    def armed_agent(self, name):
        self.stack.agent.stop()
        self.stack.start_agent(env={"UMBRA_CRASH_POINT": name})
        self.world.wait_ready()

    def back_up(self, *more):
        result = self.stack.umbra("backup", "run", *more, "--file-set", "shop", "--watch")
        self.assert_succeeded(result)
        return result.last

    def newest(self):
        return self.stack.umbra("recovery-point", "list", "--file-set", "shop", "--limit", 1).last["name"]

    def new_target(self):
        FilesTest.names += 1
        return self.world.root / f"restored-{FilesTest.names}"

    def restore(self, target, *flags):
        return self.stack.umbra("restore", "run", self.newest(), "--target-folder", target, "--watch", *flags)

    def database_in(self, target):
        return target / str(self.service.data)[1:] / "rows.db"

    def leftovers(self):
        found = [path for folder in ("copies", "file-set-intents", "file-restores") for path in (self.stack.agent_data / folder).rglob("*")]
        return found + list(self.world.root.glob(".umbra-restore-*"))

    def assert_clean(self):
        wait_for(lambda: not self.leftovers(), 15, f"nothing should be left: {self.leftovers()}")
        self.assertFalse(self.service.is_held(), "the service is thawed")
        self.assertTrue(self.service.writes(), "the service goes on")

    # The way of a wish, without a death

    def test_00_a_set_of_a_machine_and_a_service(self):
        job = self.back_up(GUEST)
        self.assertEqual(len(job["recoveryPoints"]), 2)
        self.assertEqual(self.service.events()[:2], ["freeze", "thaw"])
        shown = self.stack.umbra("file-set", "show", "shop").last
        self.assertEqual(shown["lastRecoveryPoint"], self.newest())
        self.assertNotIn(str(self.service.hook), str(shown), "no hook leaves the host")
        target = self.new_target()
        self.assert_succeeded(self.restore(target))
        self.assertEqual(check_rows(self.database_in(target)), self.service.rows_at_freeze())
        self.assertEqual((self.service.folder / "restored").read_text().split(), [str(target), "yes"])
        files = self.stack.umbra("recovery-point", "files", self.newest()).objects
        self.assertIn(str(self.service.data / "rows.db"), [file["path"] for file in files])
        self.assert_clean()

    def test_01_a_service_alone_and_a_part_of_it(self):
        self.back_up()
        self.assertGreaterEqual(self.service.rows(), self.service.rows_at_freeze())
        target = self.new_target()
        self.assert_succeeded(self.restore(target, "--path", self.service.data))
        self.assertEqual(check_rows(target / "rows.db"), self.service.rows_at_freeze())
        again = self.restore(target)
        self.assertEqual(again.reason, "TARGET_EXISTS")
        self.assert_succeeded(self.restore(target, "--overwrite"))
        self.assertEqual(check_rows(self.database_in(target)), self.service.rows_at_freeze())
        self.assertFalse((target / "rows.db").exists())
        verified = self.stack.umbra("repository", "verify", "--watch")
        self.assert_succeeded(verified)
        self.assert_clean()

    # Faults of hooks and disks

    def failed(self, reason=None):
        before = self.point_names()
        result = self.stack.umbra("backup", "run", GUEST, "--file-set", "shop", "--watch")
        self.assertEqual(result.last["state"], "STATE_FAILED", result)
        self.assertIn(result.reason, walk.stable_reasons())
        if reason:
            self.assertEqual(result.reason, reason, result)
        self.assertEqual(self.point_names(), before)
        self.assert_clean()
        return result.message

    def test_02_a_freeze_that_fails(self):
        self.restart(freeze='["/bin/sh", "-c", "echo no such luck >&2; exit 3"]')
        self.assertIn("no such luck", self.failed())
        self.assertIn("thaw", self.service.events(), "whatever was frozen is thawed")

    def test_03_a_freeze_that_hangs(self):
        self.restart(freeze='["/bin/sleep", "1000"]', freeze_seconds="1")
        self.assertIn("freeze", self.failed())
        self.assertIn("thaw", self.service.events())

    def test_04_files_that_are_too_many_for_the_copy(self):
        big = self.service.data / "big"
        big.write_bytes(b"x" * (3 << 20))
        self.restart(copy_mib_max="1")
        # Where blocks are shared, nothing has to be copied.
        result = self.stack.umbra("backup", "run", "--file-set", "shop", "--watch")
        if result.last["state"] != "STATE_SUCCEEDED":
            self.assertEqual(result.reason, "FILE_SET_TOO_LARGE", result)
        big.unlink()
        self.assert_clean()

    def test_05_a_target_that_fills_up(self):
        self.restart()
        self.back_up()
        small = self.world.root / "small"
        small.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "umbra-crash", str(small)], check=False).returncode != 0:
            self.skipTest("a small file system needs root")
        try:
            result = self.restore(small / "back")
            self.assertEqual(result.reason, "TARGET_FULL", result)
            self.assertEqual(list(small.iterdir()), [])
        finally:
            subprocess.run(["umount", str(small)], check=False)
        self.assert_clean()

    # Deaths

    def walk_backup(self, name):
        self.armed_agent(name)
        before = self.point_names()
        job = self.stack.umbra("backup", "run", GUEST, "--file-set", "shop").last["name"]
        self.wait_death(self.stack.agent, name)
        self.assertTrue(self.service.is_held(), "nobody has thawed it yet")
        self.stack.start_agent()
        self.assert_clean()
        self.assert_ended(self.world.ended(job), before, False)
        self.back_up()

    def walk_restore(self, name):
        if not self.stack.umbra("recovery-point", "list", "--file-set", "shop").objects:
            self.back_up()
        for overwrite in (False, True):
            target = self.new_target()
            if overwrite:
                target.mkdir()
                (target / "old").write_text("old")
            self.armed_agent(name)
            command = ["restore", "run", self.newest(), "--target-folder", target, *(["--overwrite"] if overwrite else [])]
            job = self.stack.umbra(*command).last["name"]
            self.wait_death(self.stack.agent, name)
            self.stack.start_agent()
            self.assertEqual(self.world.ended(job)["state"], "STATE_FAILED")
            self.assert_clean()
            if name == "agent.files.named":
                check_rows(self.database_in(target))
                self.assertFalse((target / "old").exists())
            elif overwrite:
                self.assertEqual([path.name for path in target.iterdir()], ["old"])
            else:
                self.assertFalse(target.exists())
            shutil.rmtree(target, ignore_errors=True)
            self.assert_succeeded(self.restore(target))
            check_rows(self.database_in(target))


add_tests(FilesTest, points.names_in(points.FILE_SET), FilesTest.walk_backup)
add_tests(FilesTest, points.names_in(points.FILES), FilesTest.walk_restore)

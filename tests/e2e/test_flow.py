"""The main job through every room: a running guest is backed up, its disk stored once, and restored as a machine that runs."""
import pathlib

from stack import number, seconds
from world import FILL_MIB, GUEST, EndToEndTest

MIB = 1024 * 1024


class Flow(EndToEndTest):
    def test_01_backup_of_a_running_guest_restores_to_a_new_one(self):
        rows_before = self.lab.rows(GUEST)
        job = self.assert_succeeded(self.world.backup("--full"))
        rows_after = self.lab.rows(GUEST)
        point = self.stack.umbra("recovery-point", "show", job["recoveryPoints"][0].split("/")[1]).last
        self.check_point(point, job)
        self.assert_clean()

        name = self.restored("db-new")
        restored = self.assert_succeeded(
            self.stack.umbra("restore", "run", point["name"].split("/")[1], "--name", name, "--watch"))
        self.assertEqual(self.lab.state(name), "shut off", "without --power-on it stays off")
        vm = self.stack.wait_vm(name)
        self.assertEqual(restored["restoredVirtualMachine"], vm["name"])
        self.assertNotEqual(vm["uuid"], self.stack.vm(GUEST)["uuid"])
        self.check_outside(name, rows_before, rows_after)
        self.check_inside(name)

    def check_point(self, point, job):
        self.assertEqual(point["mechanism"], "BACKUP_MECHANISM_CHILD_SNAPSHOT")
        self.assertEqual(point.get("mechanismReason", ""), "")
        self.assertEqual(point["freezeDuration"], job["freezeDuration"])
        self.assertLess(seconds(point["freezeDuration"]), 2.0)
        self.assertEqual([disk["name"] for disk in point["disks"]], ["vda"])
        read = number(point, "readBytes")
        self.assertGreater(read, FILL_MIB * MIB)
        self.assertLess(read, 2048 * MIB // 2, "only allocated extents are read")
        self.assertGreater(number(point, "storedBytes"), 0)
        self.assertLess(number(point, "storedBytes"), read, "stored chunks are compressed")
        self.assertIn("<domain", point["configuration"])

    def check_outside(self, name, rows_before, rows_after):
        image = pathlib.Path(self.lab.disk_paths(name)["vda"])
        found = self.lab.verify_disk(image)
        self.assertTrue(found["kept"], found)
        self.assertFalse(found["needs_recovery"], "a frozen file system needs no journal replay")
        self.assertEqual(found["e2fsck"], "clean")
        self.assertGreaterEqual(found["rows"], rows_before, "a row committed before the freeze is missing")
        self.assertLessEqual(found["rows"], rows_after)
        self.assertLess(image.stat().st_blocks * 512, 2048 * MIB, "the image is sparse")
        self.rows_outside = found["rows"]

    def check_inside(self, name):
        self.lab.virsh("start", name)
        self.lab.wait_agent(name)
        report = self.lab.boot_report(name)
        self.assertEqual(report["needs_recovery"], 0)
        self.assertEqual(report["found"]["rows"], self.rows_outside)
        self.assertTrue(self.lab.verify_guest(name)["kept"])
        self.assertGreater(self.lab.rows(name), self.rows_outside, "it goes on writing")

    def test_02_second_backup_stores_only_what_is_new(self):
        self.assert_succeeded(self.world.backup())
        before = self.stack.umbra("repository", "show").last
        job = self.assert_succeeded(self.world.backup("--full"))
        after = self.stack.umbra("repository", "show").last
        point = self.stack.umbra("recovery-point", "show", job["recoveryPoints"][0].split("/")[1]).last
        self.assertGreater(number(point, "readBytes"), FILL_MIB * MIB, "it is a full read")
        self.assertLess(number(point, "storedBytes"), 32 * MIB, "chunks that are known are not stored again")
        self.assertLess(number(job["progress"], "newBytes"), 64 * MIB)
        self.assertLess(number(after, "storedBytes") - number(before, "storedBytes"), 32 * MIB)
        self.assertEqual(number(after, "recoveryPointCount"), number(before, "recoveryPointCount") + 1)

    def test_02_increment_reads_only_what_changed(self):
        self.assert_succeeded(self.world.backup())
        job = self.assert_succeeded(self.world.backup())
        self.assertEqual(job["progress"]["disks"][0]["readMode"], "READ_MODE_INCREMENTAL")
        point = self.stack.umbra("recovery-point", "show", job["recoveryPoints"][0].split("/")[1]).last
        self.assertLess(number(point, "readBytes"), 64 * MIB, "what the guest wrote in a second, and a sample")
        name = self.restored("db-increment")
        self.assert_succeeded(self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--name", name, "--watch"))
        found = self.lab.verify_disk(self.lab.disk_paths(name)["vda"])
        self.assertTrue(found["kept"], found)
        self.assertFalse(found["needs_recovery"])

    def test_03_restore_in_place_replaces_the_machine(self):
        uuid = self.stack.vm(GUEST)["uuid"]
        path = self.lab.disk_paths(GUEST)["vda"]
        rows_before = self.lab.rows(GUEST)
        job = self.assert_succeeded(self.world.backup())
        rows_after = self.lab.rows(GUEST)
        self.lab.guest(GUEST, "sh", "-c", "echo lost >/data/after-the-backup; sync")
        refused = self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--in-place", "--power-on")
        self.assertEqual(refused.status, 2, "it asks for --yes")
        self.assertEqual(self.lab.state(GUEST), "running")

        self.assert_succeeded(
            self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--in-place", "--yes", "--power-on", "--watch"))
        self.lab.wait_agent(GUEST)
        self.assertEqual(self.lab.virsh("domuuid", GUEST), uuid)
        self.assertEqual(self.lab.disk_paths(GUEST)["vda"], path)
        report = self.lab.boot_report(GUEST)
        self.assertEqual(report["needs_recovery"], 0)
        self.assertTrue(rows_before <= report["found"]["rows"] <= rows_after, (rows_before, report, rows_after))
        self.assertEqual(self.lab.guest(GUEST, "ls", "/data").split().count("after-the-backup"), 0)
        self.assertTrue(self.lab.verify_guest(GUEST)["kept"])
        self.world.wait_ready()
        self.assert_succeeded(self.world.backup())

    def test_04_cancel_puts_everything_back(self):
        job = self.world.hold_mid_copy()
        self.world.resume_daemon()
        cancelled = self.stack.umbra("backup", "cancel", job, "--watch")
        self.assertIn(cancelled.status, (0, 6), str(cancelled))
        if cancelled.status == 6:
            self.assertEqual(cancelled.last["state"], "STATE_CANCELLED")
            self.assert_nothing_visible()

    def test_05_repository_alone_rebuilds_the_catalog(self):
        self.assert_succeeded(self.world.backup())
        points = {point["name"]: point for point in self.stack.points()}
        self.stack.agent.stop()
        self.assertEqual(self.stack.daemon.stop(), 0)
        catalog = [path for path in self.stack.daemon_data.iterdir() if ".db" in path.name]
        self.assertTrue(catalog, "where is the catalog?")
        for path in catalog:
            path.unlink()
        self.stack.start_daemon()
        rebuilt = self.stack.umbra("repository", "rebuild-catalog")
        self.assertEqual(rebuilt.status, 0, str(rebuilt))
        self.assertEqual(number(rebuilt.last, "foundCount"), len(points))
        again = {point["name"]: point for point in self.stack.points()}
        self.assertEqual(set(again), set(points))
        for name, point in again.items():
            for field in ("virtualMachineDisplayName", "pointTime", "mechanism", "disks", "freezeDuration"):
                self.assertEqual(point.get(field), points[name].get(field), (name, field))
        self.rejoin()
        name = self.restored("db-rebuilt")
        self.assert_succeeded(self.stack.umbra("restore", "run", next(iter(points)), "--name", name, "--host",
                                               self.stack.umbra("host", "list").last["name"], "--watch"))
        self.assertTrue(self.lab.verify_disk(self.lab.disk_paths(name)["vda"])["kept"])

    def rejoin(self):
        """A daemon that lost its catalog doesn't know its agents any more: the agent enrols again."""
        for path in sorted(self.stack.agent_data.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.stack.start_agent()
        self.world.wait_ready()

    def test_06_graceful_stop_ends_at_once_and_cleanly(self):
        job = self.world.hold_mid_copy()
        self.world.resume_daemon()
        self.assertEqual(self.stack.agent.stop(timeout_s=30), 0)
        self.assert_clean()
        self.assertEqual(self.stack.daemon.stop(timeout_s=15), 0)
        self.stack.start_daemon()
        self.stack.start_agent()
        ended = self.world.ended(job)
        self.assertIn(ended["state"], ("STATE_FAILED", "STATE_CANCELLED"))
        self.assert_nothing_visible()

    def test_07_daemon_restart_does_not_disturb_an_idle_agent(self):
        agent = self.stack.agent.pid()
        self.assertEqual(self.stack.daemon.stop(), 0)
        self.stack.start_daemon()
        self.stack.agent.wait_ready(self.stack.online, 30, "the agent should come back by itself")
        self.assertEqual(self.stack.agent.pid(), agent)
        self.assert_succeeded(self.world.backup())

    def test_08_inventory_says_which_mechanism_and_why(self):
        self.new_machine("bare", "--no-agent", "--no-start", "--nic", "none")
        self.lab.virsh("start", "bare")
        vm = self.stack.wait_vm("bare", lambda vm: vm.get("state") == "VIRTUAL_MACHINE_STATE_RUNNING")
        self.assertEqual(vm["guestAgent"]["state"], "STATE_NOT_CONFIGURED")
        self.assertEqual(vm["mechanismReason"], "GUEST_AGENT_NOT_CONFIGURED")
        self.assertTrue(vm["mechanismMessage"])
        self.assertEqual(self.stack.vm(GUEST)["mechanism"], "BACKUP_MECHANISM_CHILD_SNAPSHOT")



"""Saved state on a real guest: memory and disks of one instant, for guests that can't freeze themselves; machines that are off or paused."""
import pathlib
import signal
import subprocess
import sys
import time

from stack import number, seconds, wait_for
from world import GUEST, EndToEndTest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import points  # noqa: E402

MIB = 1024 * 1024
MUTE_S = 20  # seconds of the guest's own time for which its agent is kept from answering
CRASH_TIMEOUT_S = 60


class SavedState(EndToEndTest):
    def tearDown(self):
        if self.lab.state(GUEST) == "running":
            self.lab.wait_agent(GUEST)  # it may still be mute
        super().tearDown()

    def mute_agent(self, guest_seconds=MUTE_S):
        """Stops the guest's agent for a while, as when it hangs; it answers again by itself."""
        self.lab.guest(GUEST, "sh", "-c",
                       f"(sleep 0.5; P=$(cat /run/ga.pid); kill -STOP $P; sleep {guest_seconds}; kill -CONT $P) >/dev/null 2>&1 &")
        self.stack.wait_vm(GUEST, lambda vm: vm.get("mechanismReason") == "GUEST_AGENT_NOT_RUNNING")

    def boot_id(self):
        return self.lab.guest(GUEST, "cat", "/proc/sys/kernel/random/boot_id")

    def uptime(self):
        return float(self.lab.guest(GUEST, "cut", "-d", " ", "-f", "1", "/proc/uptime"))

    def saved_backup(self):
        """A backup of the running guest by saved state, which is what happens without its help."""
        self.mute_agent()
        job = self.assert_succeeded(self.world.backup())
        point = self.stack.umbra("recovery-point", "show", job["recoveryPoints"][0]).last
        self.assertEqual(point["mechanism"], "BACKUP_MECHANISM_SAVED_STATE")
        return job, point

    def test_01_guest_runs_on_and_goes_on_at_the_instant_in_place(self):
        boot = self.boot_id()
        self.lab.guest(GUEST, "sh", "-c", "echo before >/run/instant")
        rows_before = self.lab.rows(GUEST)
        uptime_before = self.uptime()
        job, point = self.saved_backup()
        self.assertEqual(self.lab.state(GUEST), "running")
        self.check_point(job, point)
        self.lab.wait_agent(GUEST)
        self.assertEqual(self.boot_id(), boot, "it was never shut down")
        self.assertGreater(self.uptime(), uptime_before)
        rows_after = self.lab.rows(GUEST)
        uptime_after = self.uptime()
        self.assertTrue(self.world.writes())
        self.lab.guest(GUEST, "sh", "-c", "echo after >/run/instant; sync")

        path = self.lab.disk_paths(GUEST)["vda"]
        self.assert_succeeded(
            self.stack.umbra("restore", "run", point["name"], "--in-place", "--yes", "--resume-state", "--watch"))
        self.assertEqual(self.lab.state(GUEST), "running")
        self.assertEqual(self.lab.disk_paths(GUEST)["vda"], path)
        self.lab.wait_agent(GUEST)
        self.assertEqual(self.boot_id(), boot, "the very boot that was saved")
        self.assertEqual(self.lab.guest(GUEST, "cat", "/run/instant"), "before", "its memory is that of the instant")
        self.assertLess(self.uptime(), uptime_after + MUTE_S)
        self.assertTrue(rows_before <= self.lab.rows(GUEST), (rows_before, rows_after))
        self.assertTrue(self.world.writes())
        self.assertTrue(self.lab.verify_guest(GUEST)["kept"])
        folder = self.lab.root / "vms" / GUEST
        self.assertEqual({file.name for file in folder.iterdir()} - {"define.xml"}, {"vda.qcow2"}, "the memory's file is gone")
        self.world.wait_ready()
        self.assert_succeeded(self.world.backup())

    def check_point(self, job, point):
        self.assertEqual(point["mechanismReason"], "GUEST_AGENT_NOT_RUNNING")
        self.assertEqual([obstacle["reason"] for obstacle in point["mechanismObstacles"]], ["GUEST_AGENT_NOT_RUNNING"])
        self.assertIn("GUEST_AGENT_NOT_RUNNING", [warning["reason"] for warning in job["warnings"]])
        self.assertEqual(point["downtime"], job["downtime"])
        self.assertGreater(seconds(point["downtime"]), 0.0)
        self.assertLess(seconds(point["downtime"]), 10.0)
        self.assertGreater(number(point["memory"], "sizeBytes"), 16 * MIB)
        self.assertGreater(number(point["memory"], "dataBytes"), 0)
        self.assertEqual([disk["name"] for disk in point["disks"]], ["vda"], "memory is no disk")

    def test_02_boots_from_the_disks_under_another_name(self):
        rows_before = self.lab.rows(GUEST)
        _, point = self.saved_backup()
        refused = self.stack.umbra("restore", "run", point["name"], "--name", "x", "--resume-state")
        self.assertEqual(refused.status, 2, "memory belongs to name and uuid")
        name = self.restored("db-booted")
        self.assert_succeeded(self.stack.umbra("restore", "run", point["name"], "--name", name, "--watch"))
        found = self.lab.verify_disk(self.lab.disk_paths(name)["vda"])
        self.assertTrue(found["kept"], found)
        self.assertGreaterEqual(found["rows"], rows_before, "a row that was synced before is missing")
        self.assertTrue(found["needs_recovery"], "the disks alone are those of a machine that stood still")
        self.assertEqual(found["e2fsck"], "replayed")
        self.lab.virsh("start", name)
        self.lab.wait_agent(name)
        self.assertTrue(self.lab.verify_guest(name)["kept"])

    def test_03_what_the_request_forbids_is_refused(self):
        self.mute_agent()
        for flags in (("--no-saved-state",), ("--child-snapshot-only",)):
            refused = self.world.backup(*flags)
            self.assert_failed(refused.last, "GUEST_AGENT_NOT_RUNNING")
        self.assert_nothing_visible()
        self.assertEqual(self.lab.state(GUEST), "running")
        contradiction = self.world.backup("--child-snapshot-only", "--allow-crash-consistent")
        self.assertEqual(contradiction.status, 2)

    def test_04_paused_machine_is_saved_and_stays_paused(self):
        self.lab.virsh("suspend", GUEST)
        self.addCleanup(lambda: self.lab.run("virsh", "resume", GUEST))
        self.stack.wait_vm(GUEST, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_SAVED_STATE")
        job = self.assert_succeeded(self.world.backup())
        self.assertNotIn("downtime", job, "it stood still anyway")
        self.assertEqual(self.lab.state(GUEST), "paused")
        point = self.stack.umbra("recovery-point", "show", job["recoveryPoints"][0]).last
        self.assertEqual(point["mechanism"], "BACKUP_MECHANISM_SAVED_STATE")
        self.assertGreater(number(point["memory"], "sizeBytes"), 0)
        self.assertEqual(self.world.scratch_files(), [])
        self.lab.virsh("resume", GUEST)
        self.assertTrue(self.world.writes())

    def test_05_agent_killed_at_every_step_of_a_save(self):
        names = [name for name in points.collect(points.read_sources()) if name.startswith("agent.save.")]
        self.assertGreaterEqual(len(names), 5, names)
        boot = self.boot_id()
        for name in names:
            with self.subTest(crash_point=name):
                self.world.restart_agent(env={"UMBRA_CRASH_POINT": name})
                self.mute_agent()
                job = self.world.begin("backup", "run", GUEST)
                wait_for(lambda: self.stack.agent.pid() is None, CRASH_TIMEOUT_S, f"crash point {name} should be passed")
                self.stack.start_agent()
                wait_for(lambda: self.lab.state(GUEST) == "running", 60, "the guest should run again", pause_s=0.1)
                ended = self.world.ended(job)
                # The last point is passed when everything is committed.
                self.assertEqual(ended["state"], "STATE_SUCCEEDED" if name == "agent.save.removed" else "STATE_FAILED")
                self.lab.wait_agent(GUEST)
                self.assert_clean()
                self.assertEqual(self.boot_id(), boot)
                self.assertTrue(self.world.writes())
        self.assertEqual(len({point["name"] for point in self.stack.points()} - self.points_before), 1)
        self.world.wait_ready()
        self.assert_succeeded(self.world.backup())

    def test_06_machine_that_is_off_is_backed_up_and_stays_off(self):
        self.new_machine("off", "--no-start", "--nic", "none")
        vm = self.stack.wait_vm("off")
        self.assertEqual(vm["mechanism"], "BACKUP_MECHANISM_OFFLINE", "the inventory says it before anybody tries")
        job = self.assert_succeeded(self.world.backup("--child-snapshot-only", vm="off"))
        self.assertEqual(self.lab.state("off"), "shut off", "a backup does not start it")
        self.assertNotIn("GUEST_NOT_RUNNING", [warning["reason"] for warning in job.get("warnings", [])])
        name = self.restored("off-restored")
        self.assert_succeeded(self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--name", name, "--watch"))
        images = [self.lab.disk_paths(machine)["vda"] for machine in ("off", name)]
        compared = subprocess.run(["qemu-img", "compare", *images], capture_output=True, text=True, check=False)
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)
        self.lab.virsh("start", "off")
        self.assertEqual(self.lab.state("off"), "running", "nothing of the backup is in its way")

    def reads(self, name):
        """Whether a program reads the machine's disk that is off."""
        image = str(self.lab.root / "vms" / name)
        for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = process.read_bytes().decode(errors="replace")
            except OSError:  # ended meanwhile
                continue
            if command.startswith("qemu-nbd") and image in command:
                return True
        return False

    def test_07_machine_that_is_started_while_it_is_read_is_backed_up_again(self):
        self.lab.virsh("shutdown", GUEST, "--mode", "agent")
        wait_for(lambda: self.lab.state(GUEST) == "shut off", 60, "the guest should shut down")
        self.stack.wait_vm(GUEST, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_OFFLINE")
        job = self.world.begin("backup", "run", GUEST, "--full")  # long enough to be seen on a busy machine
        wait_for(lambda: self.reads(GUEST), 30, "the copy should begin", pause_s=0.002)
        self.stack.daemon.signal(signal.SIGSTOP)
        self.lab.virsh("start", GUEST)
        self.assertEqual(self.lab.state(GUEST), "running", "nobody is kept from starting it")
        time.sleep(1)
        self.world.resume_daemon()
        self.assert_failed(self.world.ended(job), "GUEST_STARTED")
        self.assert_nothing_visible()
        self.lab.wait_agent(GUEST)
        self.world.wait_ready()
        self.assert_succeeded(self.world.backup())

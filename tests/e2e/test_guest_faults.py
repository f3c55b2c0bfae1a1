"""Guests that misbehave: without an agent, slow or unwilling to freeze, shut down or killed in the middle of a copy."""
import time

from world import GUEST, EndToEndTest

HANG_S = 8


class GuestFaults(EndToEndTest):
    def test_unknown_machine_and_point_are_named(self):
        unknown = self.stack.umbra("backup", "run", "no-such-vm", "--watch")
        self.assertEqual((unknown.status, unknown.reason), (3, "VM_NOT_FOUND"))
        self.assertIn("no-such-vm", unknown.message)
        unknown = self.stack.umbra("restore", "run", "00000000-0000-4000-8000-000000000000", "--watch")
        self.assertEqual((unknown.status, unknown.reason), (3, "RECOVERY_POINT_NOT_FOUND"))
        unknown = self.stack.umbra("job", "show", "jobs/00000000-0000-4000-8000-000000000000")
        self.assertEqual((unknown.status, unknown.reason), (3, "JOB_NOT_FOUND"))

    def test_guest_without_agent_is_refused_unless_crash_consistent_is_allowed(self):
        self.new_machine("bare", "--no-agent", "--nic", "none")
        self.stack.wait_vm("bare", lambda vm: vm.get("mechanismReason") == "GUEST_AGENT_NOT_CONFIGURED")
        self.wait_console("bare", "init: READY")
        refused = self.world.backup("--no-saved-state", vm="bare")
        self.assertNotEqual(refused.status, 0)
        self.assertEqual(refused.reason, "GUEST_AGENT_NOT_CONFIGURED", str(refused))
        self.assertIn("agent", refused.message)
        self.assertFalse(self.stack.points("bare"))

        job = self.assert_succeeded(self.world.backup("--no-saved-state", "--allow-crash-consistent", vm="bare"))
        point = self.stack.umbra("recovery-point", "show", job["recoveryPoints"][0]).last
        self.assertEqual(point["mechanism"], "BACKUP_MECHANISM_CRASH_CONSISTENT")
        self.assertEqual(point["mechanismReason"], "GUEST_AGENT_NOT_CONFIGURED")
        self.assertFalse(self.lab.has_backup_job("bare"))
        name = self.restored("bare-restored")
        self.assert_succeeded(self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--name", name, "--watch"))
        found = self.lab.verify_disk(self.lab.disk_paths(name)["vda"])
        self.assertTrue(found["needs_recovery"], "without the guest's help it is as after a power cut")
        self.assertTrue(found["kept"], found)

    def wait_console(self, vm, text):
        """The guest has no agent to ask, but it says on its console when its writer is at work."""
        console = self.lab.root / "log" / f"{vm}.console"
        deadline = time.monotonic() + 90
        while text not in console.read_text(errors="replace"):
            self.assertLess(time.monotonic(), deadline, f"{vm} never said {text}")
            time.sleep(0.2)

    def test_freeze_that_hangs_times_out_and_the_guest_is_thawed(self):
        self.hook("hookhang", str(HANG_S))
        start = time.monotonic()
        result = self.world.backup("--freeze-timeout", 2)
        self.assertEqual(result.status, 1, str(result))
        self.assert_failed(result.last, "GUEST_FREEZE_TIMEOUT")
        self.assert_nothing_visible()
        # The freeze lands only when the hook ends, long after its time-out: the thaw must have waited for it.
        time.sleep(max(0.0, HANG_S + 1 - (time.monotonic() - start)))
        self.assertEqual(self.world.leftovers(), [])
        self.assertTrue(self.world.writes())
        self.hook("hookhang")
        self.assert_succeeded(self.world.backup())

    def test_guest_that_refuses_to_freeze(self):
        self.hook("hookfail", "1")
        result = self.world.backup()
        self.assert_failed(result.last, "GUEST_FREEZE_FAILED")
        self.assert_nothing_visible()
        self.assertTrue(self.world.writes())

    def hook(self, knob, value=None):
        remove = ("rm", "-f", f"/run/{knob}")
        if value is None:
            self.lab.guest(GUEST, *remove)
            return
        self.lab.guest(GUEST, "sh", "-c", f"echo {value} >/run/{knob}")
        self.addCleanup(lambda: self.lab.run("vm", "exec", GUEST, "--", *remove))

    def test_guest_killed_in_the_middle_of_the_copy(self):
        job = self.world.hold_mid_copy()
        self.lab.virsh("destroy", GUEST)
        self.world.resume_daemon()
        self.assert_failed(self.world.ended(job), "GUEST_STOPPED")
        self.assert_nothing_visible()
        self.assertEqual(self.world.scratch_files(), [])
        self.lab.virsh("start", GUEST)
        self.lab.wait_agent(GUEST)
        self.assert_works_again()

    def test_guest_shut_down_in_the_middle_of_the_copy(self):
        job = self.world.hold_mid_copy()
        self.lab.virsh("shutdown", GUEST, "--mode", "agent")
        time.sleep(3)  # a shutdown takes 2.5 s
        self.world.resume_daemon()
        self.assert_failed(self.world.ended(job), "GUEST_STOPPED")
        self.assert_nothing_visible()
        deadline = time.monotonic() + 60  # libvirt itself waits half a minute for the end of such a job
        while self.lab.state(GUEST) != "shut off" and time.monotonic() < deadline:
            time.sleep(0.5)
        self.assertEqual(self.world.scratch_files(), [])
        self.lab.virsh("start", GUEST)
        self.lab.wait_agent(GUEST)
        self.assert_works_again()

    def assert_works_again(self):
        self.world.wait_ready()
        self.assert_succeeded(self.world.backup())

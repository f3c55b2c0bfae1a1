"""The backup inside the guest: its freeze hooks take part, the copy is that of the freeze, and of several guests all are captured or none."""
import re

from world import GUEST, EndToEndTest

OTHERS = ("app", "web")


class ChildSnapshot(EndToEndTest):
    def test_copy_has_what_the_hook_wrote_before_the_freeze_and_not_what_it_wrote_after(self):
        job = self.assert_succeeded(self.world.backup())
        frozen, thawed = self.lab.guest(GUEST, "tail", "-n", "2", "/data/hook.log").splitlines()
        number = re.fullmatch(r"freeze (\d+)", frozen)
        self.assertTrue(number, frozen)
        self.assertEqual(thawed, f"thaw {number[1]}", "the hook is called before the freeze and after the thaw")
        called = [line.split()[1] for line in self.lab.guest(GUEST, "tail", "-n", "2", "/run/hook.log").splitlines()]
        self.assertEqual(called, ["freeze", "thaw"])

        name = self.restored("db-hook")
        self.assert_succeeded(self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--name", name, "--watch"))
        found = self.lab.verify_disk(self.lab.disk_paths(name)["vda"])
        self.assertEqual(found["hook"], frozen, "the guest wrote on after its thaw; the copy is of before")
        self.assertFalse(found["needs_recovery"])
        self.assertTrue(found["kept"], found)

    def test_agent_tells_what_the_writers_of_the_guest_did(self):
        before = self.log_lines()
        self.assert_succeeded(self.world.backup())
        lines = self.log_lines()[len(before):]
        self.assertEqual(len(lines), 2, lines)
        for event in ("Identify", "PrepareBackup", "PrepareSnapshot", "Freeze", "Thaw", "PostSnapshot"):
            self.assertRegex(lines[0], rf"\b{event} \d+\.\d ms")
        self.assertIn("state=WAITING_FOR_BACKUP_COMPLETE", lines[0])
        self.assertRegex(lines[1], r"BackupComplete .* BackupShutdown")

    def log_lines(self):
        return [line for line in self.stack.agent.log.read_text(errors="replace").splitlines() if "guest writer vm=" in line]

    def test_of_three_guests_all_are_captured_or_none(self):
        guests = (GUEST, *OTHERS)
        for name in OTHERS:
            self.new_machine(name, "--nic", "none", "--memory-mib", 128)
        for name in OTHERS:
            self.lab.wait_agent(name)
            self.world.wait_ready(name)
        for failing in guests:
            with self.subTest(failing=failing):
                self.lab.guest(failing, "touch", "/run/hookfail")
                result = self.stack.umbra("backup", "run", *guests, "--watch")
                self.assert_failed(result.last, "GUEST_FREEZE_FAILED")
                self.assertIn(failing, result.message)
                self.assert_nothing_visible()
                for name in guests:
                    self.assert_clean(name)
                    self.assertTrue(self.world.writes(name), f"{name} should go on")
                self.lab.guest(failing, "rm", "/run/hookfail")
        job = self.assert_succeeded(self.stack.umbra("backup", "run", *guests, "--watch"))
        self.assertEqual(len(job["recoveryPoints"]), 3)
        for name in guests:
            self.assert_clean(name)

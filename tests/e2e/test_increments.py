"""Increments of a real guest: random writes, zeros and discards on a disk, and after each backup the restored image is the disk as it was at the
instant of the freeze, byte for byte; with everything that can take the list of changes away in between.

UMBRA_INCREMENTS=200 runs the full length (25 otherwise), UMBRA_INCREMENTS_SEED repeats a run.
"""
import hashlib
import os
import pathlib
import random
import signal
import subprocess

from stack import number, wait_for
from world import EndToEndTest

GUEST = "cbt"
DISK = "vdb"  # nobody in the guest uses it
DISK_MIB = 64
BLOCK = 4096
COUNT = int(os.environ.get("UMBRA_INCREMENTS", "25"))
SEED = int(os.environ.get("UMBRA_INCREMENTS_SEED", random.SystemRandom().randrange(1 << 32)))
FULL, INCREMENT = "READ_MODE_FULL", "READ_MODE_INCREMENTAL"


class IncrementTest(EndToEndTest):
    """A guest with a disk that is tracked (vdb) and a raw one (vdc)."""

    @classmethod
    def setUpClass(cls):
        cls.made = False

    @classmethod
    def tearDownClass(cls):
        import world
        if cls.made:
            world.WORLD.lab.destroy(GUEST)

    def setUp(self):
        super().setUp()
        if not type(self).made:
            self.lab.create(GUEST, "--extra-disk", f"{DISK_MIB}:qcow2", "--extra-disk", "16:raw")
            type(self).made = True
        self.start_guest()

    def tearDown(self):
        super().tearDown()
        if self.lab.exists(GUEST) and self.lab.state(GUEST) == "running":
            self.assert_clean(GUEST)

    def start_guest(self):
        if self.lab.state(GUEST) != "running":
            self.lab.virsh("start", GUEST)
        self.lab.wait_agent(GUEST)
        self.world.wait_ready(GUEST)

    def in_guest(self, script):
        return self.lab.guest(GUEST, "sh", "-c", script)

    def image(self):
        return self.lab.disk_paths(GUEST)[DISK]

    def restart_after(self, stop):
        """The guest off by `stop`, and on again."""
        stop()
        wait_for(lambda: self.lab.state(GUEST) == "shut off", 40, "the guest should be off")
        self.start_guest()

    def shut_down(self):
        self.lab.virsh("shutdown", GUEST, "--mode", "agent")

    def kill_qemu(self):
        os.kill(int((self.lab.root / "run/qemu" / f"{GUEST}.pid").read_text()), signal.SIGKILL)

    def backup(self, *flags):
        job = self.assert_succeeded(self.world.backup(*flags, vm=GUEST))
        return job, {disk["disk"]: disk for disk in job["progress"]["disks"]}

    def assert_full(self, disk, *reasons):
        self.assertEqual(disk.get("readMode"), FULL, disk)
        self.assertIn(disk.get("fullReadReason"), reasons, disk)
        self.assertTrue(disk.get("fullReadMessage"), "a reason needs words")

    def assert_increment(self, disk):
        self.assertEqual(disk.get("readMode"), INCREMENT, disk)

    def now(self, name="reference"):
        """The disk as it is and as the guest reads it, too; the guest is quiet."""
        path = pathlib.Path(self.world.root) / f"{name}.raw"
        running = self.lab.state(GUEST) == "running"
        if running:  # QEMU writes what it knows of the image only when the guest's disk is told to flush
            self.in_guest(f"dd if=/dev/zero of=/dev/{DISK} bs=512 count=0 conv=notrunc,fsync 2>/dev/null; blockdev --flushbufs /dev/{DISK}")
        subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", self.image(), path], check=True)
        self.addCleanup(path.unlink, missing_ok=True)
        if running:
            seen = self.in_guest(f"md5sum </dev/{DISK}").split()[0]
            self.assertEqual(hashlib.md5(path.read_bytes()).hexdigest(), seen, "the reference is not what the guest reads")
        return path

    def assert_restores(self, job, reference):
        """The recovery point's disk is the reference."""
        name = f"{GUEST}-{job['recoveryPoints'][0][-12:]}"
        self.assert_succeeded(self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--name", name, "--watch"))
        try:
            compared = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", reference, self.lab.disk_paths(name)[DISK]],
                                      capture_output=True, text=True, check=False)
            self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)
        finally:
            self.remove_machine(name)


class RandomWorkload(IncrementTest):
    def setUp(self):
        super().setUp()
        print(f"increments: seed {SEED}, {COUNT} of them", flush=True)
        self.dice = random.Random(SEED)

    def change(self, most):
        """A script that changes up to `most` stretches of the disk."""
        lines = []
        for _ in range(self.dice.randint(0, most)):
            blocks = self.dice.choice([1, 1, 2, 8, 16, 40, 300])
            at = self.dice.randrange(DISK_MIB * 256 - blocks)
            where = f"of=/dev/{DISK} bs={BLOCK} seek={at} count={blocks} conv=notrunc"
            lines.append(self.dice.choice([f"dd if=/dev/urandom {where}", f"dd if=/dev/urandom {where}", f"dd if=/dev/zero {where}",
                                           f"blkdiscard -o {at * BLOCK} -l {blocks * BLOCK} /dev/{DISK}"]))
        return "; ".join([*(f"{line} 2>/dev/null" for line in lines), "sync", f"blockdev --flushbufs /dev/{DISK}"])

    def one_round(self, expected, *reasons):
        """Changes, a backup during which the guest changes more, and its restore."""
        self.in_guest(self.change(12))
        reference = self.now()
        begun = self.world.begin("backup", "run", GUEST)
        later = self.change(4)
        wait_for(lambda: self.stack.job(begun).get("phase") in ("PHASE_TRANSFERRING", "PHASE_COMPLETING")
                 or self.stack.job(begun)["state"] in ("STATE_SUCCEEDED", "STATE_FAILED"), 60, "the view should be cut", pause_s=0.02)
        self.in_guest(later)
        job = self.world.ended(begun)
        self.assertEqual(job["state"], "STATE_SUCCEEDED", job)
        disks = {disk["disk"]: disk for disk in job["progress"]["disks"]}
        self.assertEqual(disks[DISK].get("readMode"), expected, disks[DISK])
        if reasons:
            self.assertIn(disks[DISK].get("fullReadReason"), reasons)
        self.assert_full(disks["vdc"], "CBT_UNSUPPORTED", "CBT_NO_BASE")
        self.assert_restores(job, reference)
        self.assertEqual(len(self.lab.our_checkpoints(GUEST)), 1)

    def kill_agent_mid_backup(self):
        self.world.hold_mid_copy(vm=GUEST)
        self.stack.agent.kill()
        self.world.resume_daemon()
        self.stack.start_agent()
        self.world.wait_ready(GUEST)
        self.assertLessEqual(len(self.lab.our_checkpoints(GUEST)), 1)

    def test_every_restored_image_is_the_disk_at_the_freeze(self):
        self.backup("--full")
        for done in range(COUNT):
            with self.subTest(increment=done, seed=SEED):
                fate = self.dice.random()
                if fate < 0.06:
                    self.restart_after(self.kill_qemu)
                    self.one_round(FULL, "CBT_CHECKPOINT_BROKEN")
                elif fate < 0.12:
                    self.kill_agent_mid_backup()
                    self.one_round(INCREMENT)
                elif fate < 0.16:
                    self.restart_after(self.shut_down)
                    self.one_round(INCREMENT)
                else:
                    self.one_round(INCREMENT)
                print(f"increment {done}: the same bytes", flush=True)


class Losses(IncrementTest):
    """Each way to lose the list of changes: a full read with its reason, the right bytes, and an increment after that."""

    def check(self, lose, *reasons):
        self.backup()
        self.in_guest(f"dd if=/dev/urandom of=/dev/{DISK} bs=1M seek=3 count=2 conv=notrunc,fsync 2>/dev/null")
        lose()
        reference = self.now()
        job, disks = self.backup()
        self.assert_full(disks[DISK], *reasons)
        self.assertLess(number(job["progress"], "newBytes"), 64 * 1024 * 1024, "only changed chunks are sent")
        self.assert_restores(job, reference)
        self.assertEqual(len(self.lab.our_checkpoints(GUEST)), 1)
        self.in_guest(f"dd if=/dev/urandom of=/dev/{DISK} bs=1M seek=9 count=1 conv=notrunc,fsync 2>/dev/null")
        reference = self.now()
        job, disks = self.backup()
        self.assert_increment(disks[DISK])
        self.assertEqual(number(disks[DISK], "changedBytes"), 1024 * 1024)
        self.assert_restores(job, reference)

    def bitmaps(self):
        """Names of the bitmaps in QEMU's node of the disk."""
        answer = self.lab.virsh("qemu-monitor-command", GUEST, '{"execute":"query-named-block-nodes","arguments":{"flat":true}}')
        return {name for name in answer.split('"') if name.startswith("umbra-")}

    def test_qemu_killed(self):
        self.check(lambda: self.restart_after(self.kill_qemu), "CBT_CHECKPOINT_BROKEN")

    def test_checkpoint_deleted_by_another_tool(self):
        self.check(lambda: self.lab.virsh("checkpoint-delete", GUEST, self.lab.our_checkpoints(GUEST)[0]), "CBT_CHECKPOINT_MISSING")

    def test_checkpoint_forgotten_by_libvirt_alone(self):
        self.check(lambda: self.lab.virsh("checkpoint-delete", GUEST, self.lab.our_checkpoints(GUEST)[0], "--metadata"),
                   "CBT_CHECKPOINT_MISSING")
        self.assertEqual(self.bitmaps(), set(self.lab.our_checkpoints(GUEST)), "its bitmap is gone from the image")

    def test_disk_resized(self):
        def resize():
            self.shut_down()
            wait_for(lambda: self.lab.state(GUEST) == "shut off", 40, "the guest should be off")
            subprocess.run(["qemu-img", "resize", "-q", self.image(), "+1M"], check=True)
            self.start_guest()
        self.check(resize, "CBT_DISK_RESIZED")

    def test_machine_defined_again_with_the_same_name(self):
        def again():
            definition = self.world.root / "again.xml"
            definition.write_text(self.lab("vm", "xml", GUEST))
            self.shut_down()
            wait_for(lambda: self.lab.state(GUEST) == "shut off", 40, "the guest should be off")
            self.lab.virsh("undefine", GUEST, "--checkpoints-metadata")
            self.lab.virsh("define", definition)
            self.start_guest()
        self.check(again, "CBT_CHECKPOINT_MISSING")

    def test_restored_in_place(self):
        job, _ = self.backup()
        reference = self.now()
        self.in_guest(f"dd if=/dev/urandom of=/dev/{DISK} bs=1M seek=1 count=1 conv=notrunc,fsync 2>/dev/null")
        self.assert_succeeded(self.stack.umbra("restore", "run", job["recoveryPoints"][0], "--in-place", "--yes", "--power-on", "--watch"))
        self.start_guest()
        job, disks = self.backup()
        self.assert_full(disks[DISK], "CBT_CHECKPOINT_MISSING", "CBT_DISK_REPLACED")
        self.assert_restores(job, reference)
        _, disks = self.backup()
        self.assert_increment(disks[DISK])

    def test_disk_added_and_removed(self):
        self.backup()
        image = self.world.root / "added.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "8M"], check=True)
        self.lab.virsh("attach-disk", GUEST, image, "vdd", "--subdriver", "qcow2", "--persistent")
        self.stack.wait_vm(GUEST, lambda vm: any(disk["name"] == "vdd" for disk in vm["disks"]))
        _, disks = self.backup()
        self.assert_full(disks["vdd"], "CBT_DISK_NEW")
        self.assert_increment(disks[DISK])
        _, disks = self.backup()
        self.assert_increment(disks["vdd"])
        self.lab.virsh("detach-disk", GUEST, "vdd", "--persistent")
        self.stack.wait_vm(GUEST, lambda vm: all(disk["name"] != "vdd" for disk in vm["disks"]))
        _, disks = self.backup()
        self.assertNotIn("vdd", disks)
        self.assert_increment(disks[DISK])
        image.unlink()

    def test_guest_off_and_on_again(self):
        self.backup()
        self.in_guest(f"dd if=/dev/zero of=/dev/{DISK} bs=1M seek=5 count=1 conv=notrunc,fsync 2>/dev/null")
        self.shut_down()
        wait_for(lambda: self.lab.state(GUEST) == "shut off", 40, "the guest should be off")
        self.stack.wait_vm(GUEST, lambda vm: vm.get("state") == "VIRTUAL_MACHINE_STATE_OFF")
        reference = self.now()
        job, disks = self.backup()  # through the bitmap in the image
        self.assert_increment(disks[DISK])
        self.assertEqual(number(disks[DISK], "changedBytes"), 1024 * 1024)
        self.assert_restores(job, reference)
        self.start_guest()
        self.in_guest(f"dd if=/dev/urandom of=/dev/{DISK} bs=1M seek=6 count=1 conv=notrunc,fsync 2>/dev/null")
        reference = self.now()
        job, disks = self.backup()
        self.assert_increment(disks[DISK])
        self.assertEqual(number(disks[DISK], "changedBytes"), 2 * 1024 * 1024, "since the checkpoint, which the machine that was off kept")
        self.assert_restores(job, reference)

    def test_full_read_on_request(self):
        self.backup()
        job, disks = self.backup("--full")
        self.assert_full(disks[DISK], "CBT_FULL_REQUESTED")
        self.assert_full(disks["vda"], "CBT_FULL_REQUESTED")
        shown = subprocess.run(self.stack.command("job", "show", job["name"]), capture_output=True, text=True, check=True).stdout
        self.assertIn("CBT_FULL_REQUESTED", shown)
        _, disks = self.backup()
        self.assert_increment(disks[DISK])

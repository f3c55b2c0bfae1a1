"""Removed recovery points come back, or give their space back: real processes, a real guest, real bytes on disk."""
import hashlib
import pathlib
import subprocess

from stack import number
from world import GUEST, EndToEndTest

MIB = 1024 * 1024
AT_ONCE = '[prune]\nevery = "0s"\nundelete_window = "0s"\nyoung_pack_grace = "0s"\ncondemned_grace = "0s"\n'


def sha256_of_disk(path):
    """Of what the guest sees: where an image keeps a cluster depends on the order in which they were written."""
    raw = pathlib.Path(f"{path}.raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(path), str(raw)], check=True)
    digest = hashlib.sha256()
    with open(raw, "rb") as image:
        while block := image.read(4 * MIB):
            digest.update(block)
    raw.unlink()
    return digest.hexdigest()


class Prune(EndToEndTest):
    def restart_daemon(self, prune_section):
        self.assertEqual(self.stack.daemon.stop(), 0)
        text = self.stack.config.read_text().split("[prune]")[0]
        self.stack.config.write_text(text + prune_section)
        self.stack.start_daemon()
        self.world.wait_ready()

    def point_of(self, job):
        return job["recoveryPoints"][0].split("/")[1]

    def packs_bytes(self):
        return sum(path.stat().st_size for path in (self.stack.daemon_data / "repositories/main/packs").rglob("*.pack"))

    def restored_hash(self, point, name):
        self.restored(name)
        self.assert_succeeded(self.stack.umbra("restore", "run", point, "--name", name, "--watch"))
        image = pathlib.Path(self.lab.disk_paths(name)["vda"])
        digest = sha256_of_disk(image)
        self.remove_machine(name)
        return digest

    def test_01_removed_points_are_hidden_and_come_back(self):
        point = self.point_of(self.assert_succeeded(self.world.backup()))
        removed = self.stack.umbra("recovery-point", "remove", point)
        self.assertEqual(removed.status, 0, str(removed))
        self.assertIn("purgeTime", removed.last)
        self.assertNotIn(f"recoveryPoints/{point}", {p["name"] for p in self.stack.points()})
        self.assertEqual(self.stack.umbra("restore", "run", f"recoveryPoints/{point}", "--name", "never").status, 3)
        listed = self.stack.umbra("recovery-point", "list", "--removed")
        self.assertIn(f"recoveryPoints/{point}", {p["name"] for p in listed.objects})
        self.assertEqual(self.stack.umbra("recovery-point", "undelete", point).status, 0)
        self.assertIn(f"recoveryPoints/{point}", {p["name"] for p in self.stack.points()})

        self.assertEqual(self.stack.umbra("recovery-point", "hold", point, "--note", "case 17").status, 0)
        refused = self.stack.umbra("recovery-point", "remove", point)
        self.assertEqual(refused.status, 5, str(refused))
        self.assertIn("RECOVERY_POINT_HELD", str(refused))
        self.assertEqual(self.stack.umbra("recovery-point", "release", point).status, 0)

    def test_02_prune_frees_space_and_others_restore_byte_equal(self):
        first = self.point_of(self.assert_succeeded(self.world.backup()))
        # Data that only the second point has, and then no point: what is to be freed.
        self.lab.guest(GUEST, "sh", "-c", "head -c 60000000 /dev/urandom >/data/passing; sync")
        second = self.point_of(self.assert_succeeded(self.world.backup()))
        self.lab.guest(GUEST, "sh", "-c", "rm /data/passing; sync")
        before = {point: self.restored_hash(point, f"before-{point[:8]}") for point in (first, second)}
        self.restart_daemon(AT_ONCE)
        try:
            self.assertEqual(self.stack.umbra("recovery-point", "remove", second).status, 0)
            dry = self.assert_succeeded(self.stack.umbra("repository", "prune", "--dry-run", "--watch"))
            full = self.packs_bytes()
            self.assertGreater(number(dry["pruneResult"], "freedBytes"), 50 * MIB)
            pruned = self.assert_succeeded(self.stack.umbra("repository", "prune", "--watch"))
            self.assertGreaterEqual(number(pruned["pruneResult"], "deletedPointCount"), 1)
            self.assertEqual(number(pruned["pruneResult"], "freedBytes"), number(dry["pruneResult"], "freedBytes"))
            self.assertLess(self.packs_bytes(), full - 40 * MIB, "the space is really free")
            self.assertEqual(self.restored_hash(first, f"after-{first[:8]}"), before[first])
            gone = self.stack.umbra("recovery-point", "undelete", second)
            self.assertEqual(gone.status, 3, str(gone))
            verified = self.stack.umbra("repository", "verify", "--watch")
            self.assertEqual(verified.status, 0, str(verified))
            self.assert_succeeded(self.world.backup())
        finally:
            self.restart_daemon("")

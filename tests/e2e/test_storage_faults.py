"""Storage that fails: a full repository, a full scratch folder, a flipped bit in a stored chunk."""
import json
import pathlib
import time

import repository_files
from stack import Stack, number, wait_for
from world import GUEST, SMALL_SCRATCH_MIB, EndToEndTest


class StorageFaults(EndToEndTest):
    def test_flipped_bit_is_named_by_verify_and_restore(self):
        self.assert_succeeded(self.world.backup())
        points = [point["name"] for point in self.stack.points(GUEST)]
        repository = self.stack.umbra("repository", "list").last
        pack, chunk_id, offset, stored = repository_files.some_chunk(
            repository["location"], number(repository, "chunkSizeBytes"))
        repository_files.flip_bit(pack, offset + stored // 2)
        self.check_verify(chunk_id)
        self.assertEqual(self.health(points[0]), "HEALTH_DAMAGED")
        self.world.restart_daemon()  # what was found yesterday is known today, without reading it again
        self.check_known_damage(points)
        self.check_restore(chunk_id)
        # The guest still has these bytes, so the next backup brings the chunk again, and every older point is whole again.
        self.assert_succeeded(self.world.backup())
        wait_for(lambda: self.health(points[0]) == "HEALTH_HEALED", 20, "the backup's end should show the old point as healed")
        self.assertNotIn("damagedPlaceCount", self.stack.umbra("repository", "show").last["verification"])
        left = self.stack.umbra("repository", "verify", "--watch").last.get("damage", [])
        self.assertEqual([entry for entry in left if entry.get("recoveryPoint")], [], "only the useless old copy stays damaged")
        name = self.restored("db-healed")
        self.assert_succeeded(self.stack.umbra("restore", "run", points[-1], "--name", name, "--watch"))
        repository_files.flip_bit(pack, offset + stored // 2)
        sound = self.stack.umbra("repository", "verify", "--watch")
        self.assertEqual(sound.status, 0, str(sound))

    def health(self, point):
        return self.stack.umbra("recovery-point", "show", point.split("/")[1]).last.get("health")

    def check_known_damage(self, points):
        shown = self.stack.umbra("repository", "show").last["verification"]
        self.assertIn(points[0], shown["damagedRecoveryPoints"])
        # Other machines, and points that were removed, may share the chunk.
        everything = self.stack.points() + self.stack.umbra("recovery-point", "list", "--removed", "--limit", 0).objects
        self.assertLessEqual(set(shown["damagedRecoveryPoints"]), {point["name"] for point in everything})
        self.assertEqual(number(shown, "quarantinedPackCount"), 1)
        point = self.stack.umbra("recovery-point", "show", points[0].split("/")[1]).last
        self.assertEqual({(place["disk"], number(place, "offsetBytes")) for place in point["damage"]}, {("vda", at) for at in self.damaged_at})
        self.assertTrue(all(number(place, "lengthBytes") > 0 for place in point["damage"]))
        for level in ("stored", "full"):
            verified = self.stack.umbra("repository", "verify", "--level", level, "--watch")
            self.assertEqual(verified.status, 7, str(verified))

    def check_verify(self, chunk_id):
        verified = self.stack.umbra("repository", "verify", "--watch")
        self.assertEqual(verified.status, 7, str(verified))
        damage = verified.last["damage"]
        self.assertEqual({entry["chunkId"] for entry in damage}, {chunk_id})
        newest = self.stack.points()[0]["name"]
        self.damaged_at = {number(entry, "offsetBytes") for entry in damage if entry["recoveryPoint"] == newest}
        self.assertTrue(self.damaged_at, "the newest point needs the chunk too")
        self.assertEqual({entry["disk"] for entry in damage}, {"vda"})

    def check_restore(self, chunk_id):
        folder = self.world.root / "damaged-restore"
        restored = self.stack.umbra("restore", "run", "latest", "--vm", GUEST, "--name", "db-damaged", "--target-folder", folder,
                                    "--power-on", "--watch")
        self.addCleanup(self.remove_machine, "db-damaged")
        self.assertEqual(restored.last.get("state"), "STATE_FAILED", str(restored))
        self.assertEqual(restored.reason, "CHUNK_DAMAGED", str(restored))
        self.assertIn(chunk_id[:16], restored.message)
        self.assertIn("vda", restored.message)
        self.assertTrue(any(str(at) in restored.message for at in self.damaged_at), restored.message)
        self.assertFalse(self.lab.exists("db-damaged"), "a machine with wrong bytes must not be registered")
        wait_for(self.restore_failure, 20, "the writer should tell that the restore was incomplete")
        left = [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
        self.assertEqual(left, [], "no partial file may stay")

    def restore_failure(self):
        """Whether the Hyper-V writer is in the state of a restore whose files weren't all restored."""
        host = self.stack.umbra("host", "list").last["name"]
        writer = next(w for w in self.stack.umbra("writer", "list", host).objects if "Hyper-V" in w["displayName"])
        return writer["state"] == "FAILED_AT_POST_RESTORE" and writer["lastFailureCode"] == 0x800423F4

    def test_repository_full(self):
        full = Stack(self.world.root / "full", self.world.build, self.lab.uri)
        self.addCleanup(full.stop)
        self.stack.agent.stop()  # two agents must not drive one host at a time
        full.start_daemon("--repository", f"main={self.world.small_repository}/r")
        full.start_agent()
        full.wait_vm(GUEST, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_CHILD_SNAPSHOT")
        result = full.umbra("backup", "run", GUEST, "--watch")
        self.assertEqual(result.last.get("state"), "STATE_FAILED", str(result))
        self.assertEqual(result.reason, "STORAGE_FULL", str(result))
        self.assertEqual(full.points(), [])
        self.assertEqual(full.umbra("repository", "list").status, 0, "the daemon goes on")
        scratch = [path for path in (full.agent_data / "scratch").rglob("*") if not path.is_dir()]
        self.assertEqual(scratch, [])
        self.assertFalse(self.lab.frozen(GUEST))
        full.stop()

    def test_scratch_folder_full(self):
        self.world.restart_agent("--scratch-folder", self.world.small_scratch)
        job = self.world.hold_mid_copy()
        # What the guest overwrites while the view is open is kept in the scratch folder, until that is full and QEMU pauses the guest; an
        # agent that sees it coming in time ends the view before.
        self.in_background(f"dd if=/dev/urandom of=/data/fill/random bs=1M count={SMALL_SCRATCH_MIB + 16} conv=notrunc,fsync")
        deadline = time.monotonic() + 60
        while self.lab.state(GUEST) == "running" and self.lab.has_backup_job(GUEST):
            self.assertLess(time.monotonic(), deadline, "the scratch folder was to become full")
            time.sleep(0.2)
        self.world.resume_daemon()
        self.assert_failed(self.world.ended(job), "SCRATCH_FULL")
        self.assert_nothing_visible()
        self.assertEqual(self.lab.state(GUEST), "running")
        self.lab.wait_agent(GUEST)
        self.assertTrue(self.world.writes())
        self.world.restart_agent()

    def in_background(self, script):
        """Starts it in the guest and doesn't wait."""
        command = {"execute": "guest-exec", "arguments": {"path": "sh", "arg": ["-c", script]}}
        self.lab.virsh("qemu-agent-command", GUEST, json.dumps(command))

    def test_scratch_folder_too_small_to_begin(self):
        ballast = self.world.small_scratch / "ballast"
        ballast.write_bytes(bytes(32 * 1024 * 1024))
        try:
            self.world.restart_agent("--scratch-folder", self.world.small_scratch)
            self.assert_failed(self.world.backup().last, "SCRATCH_FULL")
        finally:
            ballast.unlink()
        self.world.restart_agent()

    def test_restore_to_a_full_folder(self):
        self.assert_succeeded(self.world.backup())
        folder = self.world.small_scratch / "target"
        self.addCleanup(self.remove_machine, "db-full")
        restored = self.stack.umbra("restore", "run", "latest", "--vm", GUEST, "--name", "db-full", "--target-folder", folder, "--watch")
        self.assertEqual(restored.reason, "TARGET_FULL", str(restored))
        self.assertFalse(self.lab.exists("db-full"))
        left = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
        self.assertEqual(left, [], "no partial file may stay")

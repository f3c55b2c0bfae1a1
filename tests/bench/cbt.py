"""Increments: a guest's disk of 20 GiB of which 1 % has changed, against `virtnbdbackup -l inc`.

Two equal guests, since virtnbdbackup refuses one that has another tool's checkpoint. In every round the same script changes the same
stretches in both, then each is backed up, in turns; the best of three rounds counts. The changes are stretches of 2 MiB at odd places,
so that what is read beyond them (whole chunks, and the sample of unchanged ones) shows.
"""
import contextlib
import pathlib
import random
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "deploy/local"))
from first_vm import MIB, say, timed, umbra_timed  # noqa: E402
from lab import Lab  # noqa: E402
from stack import Stack, number  # noqa: E402

OURS, PEER = "ours", "peer"
DISK, DISK_MIB = "vdb", 20 * 1024
DATA_MIB = 1024  # written before the first backup
CHANGED_MIB = DISK_MIB // 100
STRETCH_KIB = 2048
ROUNDS = 3
SEED = 20


class Bench:
    def __init__(self, folder, build, cache):
        self.folder = pathlib.Path(folder)
        self.lab = Lab(self.folder / "lab", cache)
        self.stack = Stack(self.folder / "u", build, self.lab.uri)
        self.target = self.folder / "peer"
        self.dice = random.Random(SEED)

    def start(self):
        self.lab.start()
        for name in (OURS, PEER):
            self.lab.create(name, "--extra-disk", f"{DISK_MIB}:qcow2", "--no-start", "--writer-interval-ms", 3600000)
            self.fill(self.lab.root / "vms" / name / f"{DISK}.qcow2")
            self.lab.virsh("start", name)
        self.stack.start_daemon()
        for name in (OURS, PEER):
            self.lab.wait_agent(name)
        self.stack.start_agent()
        self.stack.wait_vm(OURS, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_CHILD_SNAPSHOT")

    def fill(self, image):
        """Data that doesn't compress, spread over the disk."""
        step = DISK_MIB // (DATA_MIB // 64)
        commands = [part for i in range(DATA_MIB // 64) for part in ("-c", f"write -q -s /dev/urandom {i * step}M 64M")]
        subprocess.run(["qemu-io", "-f", "qcow2", *commands, str(image)], check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.stack.stop()
        self.lab.stop()

    def change(self):
        """The same changes in both guests; flushed."""
        count = CHANGED_MIB * 1024 // STRETCH_KIB
        part = DISK_MIB * 1024 // count
        places = [i * part + self.dice.randrange(0, part - STRETCH_KIB, 4) for i in range(count)]
        script = "; ".join(f"dd if=/dev/urandom of=/dev/{DISK} bs=4k seek={at // 4} count={STRETCH_KIB // 4} conv=notrunc 2>/dev/null"
                           for at in places) + "; sync"
        for name in (OURS, PEER):
            self.lab.guest(name, "sh", "-c", script, timeout=600)

    def peer(self, level):
        return timed(["virtnbdbackup", "-U", self.lab.uri, "-d", PEER, "-l", level, "-o", self.target, "-S", self.folder,
                      "-f", self.folder / "peer.sock", "--noprogress"])

    def increments(self):
        """Best seconds of ours and of the peer; the bytes that ours read, and those that had changed, of the worst round."""
        umbra_timed(self.stack, "backup", "run", OURS)
        self.peer("full")
        ours, theirs, ratios = [], [], []
        for i in range(ROUNDS):
            say(f"increment, round {i + 1} of {ROUNDS}")
            self.change()
            took, job = umbra_timed(self.stack, "backup", "run", OURS)
            ours.append(took)
            theirs.append(self.peer("inc"))
            disks = job["progress"]["disks"]
            if any(disk.get("readMode") != "READ_MODE_INCREMENTAL" for disk in disks):
                raise RuntimeError(f"not an increment: {disks}")
            changed = sum(number(disk, "changedBytes") for disk in disks)
            ratios.append((number(job["progress"], "readBytes") / changed, number(job["progress"], "readBytes"), changed))
        say(f"umbra {ours} s, virtnbdbackup {theirs} s, read/changed {ratios}")
        return min(ours), min(theirs), max(ratios)


def run(folder, build, cache):
    """Yields the figures, one dictionary each."""
    bench = Bench(folder, build, cache)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(bench.stop)
        bench.start()
        ours, theirs, (ratio, read, changed) = bench.increments()
        yield {"name": "cbt/increment", "value": round(ours, 2), "unit": "s", "against": f"virtnbdbackup -l inc {theirs:.2f} s",
               "ratio": round(theirs / ours, 2), "goal": ">= 2.0", "ok": theirs / ours >= 2.0}
        yield {"name": "cbt/read", "value": round(read / MIB, 1), "unit": "MiB", "against": f"changed {changed / MIB:.1f} MiB",
               "ratio": round(ratio, 2), "goal": "< 1.2", "ok": ratio < 1.2}

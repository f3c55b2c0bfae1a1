"""One running guest with a half-filled disk of 2 GiB: how long it is frozen, how fast it is backed up and restored, what that takes.

Peers: virtnbdbackup (as it comes: full copy, not compressed) on the same guest, and `qemu-img convert` of the same disk as a
zstd-compressed qcow2. Ours is encrypted and durable when it ends; virtnbdbackup leaves its files to the page cache, so it counts
twice: as it comes, and with its files synced. Both sides of a ratio run in turns in the same run; the best of three of each counts, because other load on
the machine only ever makes things slower.
"""
import contextlib
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "deploy/local"))
from lab import Lab  # noqa: E402
from stack import Stack, seconds  # noqa: E402

GUEST = "bench"
FILL_MIB = 1024
ROUNDS = 3
FREEZES = 30
MIB = 1024 * 1024


class MeasureError(RuntimeError):
    """A program that was to be measured failed."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def timed(command):
    start = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise MeasureError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return time.monotonic() - start


def umbra_timed(stack, *args):
    """Seconds that a followed job took, and the job."""
    start = time.monotonic()
    result = stack.umbra(*args, "--watch")
    if result.status != 0:
        raise MeasureError(str(result))
    return time.monotonic() - start, result.last


class Bench:
    """The guest, a lab, umbrad with a fresh repository for each round, and umbra-agent."""

    def __init__(self, folder, build, cache):
        self.folder = pathlib.Path(folder)
        self.lab = Lab(self.folder / "lab", cache)
        self.stack = Stack(self.folder / "u", build, self.lab.uri)

    def start(self):
        self.lab.start()
        self.lab.create(GUEST, "--fill-mib", FILL_MIB)
        repositories = [f"--repository=r{i}={self.folder}/r{i}" for i in range(ROUNDS)]
        self.stack.start_daemon(*repositories)
        self.lab.wait_agent(GUEST)
        self.stack.start_agent()
        self.stack.wait_vm(GUEST, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_CHILD_SNAPSHOT")

    def stop(self):
        self.stack.stop()
        self.lab.stop()

    def freezes(self):
        """Milliseconds that the guest was frozen, one for each backup."""
        for i in range(FREEZES):
            say(f"freeze {i + 1} of {FREEZES}")
            _, job = umbra_timed(self.stack, "backup", "run", GUEST)
            yield seconds(job["freezeDuration"]) * 1000

    def backups(self):
        """Best seconds of umbra into an empty repository, of virtnbdbackup into an empty folder, and of the same until it is on the disk."""
        ours, theirs, durable = [], [], []
        for i in range(ROUNDS):
            say(f"full backup, round {i + 1} of {ROUNDS}")
            ours.append(umbra_timed(self.stack, "backup", "run", GUEST, "--repository", f"r{i}")[0])
            target = self.folder / "peer"
            theirs.append(timed(["virtnbdbackup", "-U", self.lab.uri, "-d", GUEST, "-l", "copy", "-o", target, "-S", self.folder,
                                 "-f", self.folder / "peer.sock", "--noprogress"]))
            durable.append(theirs[-1] + timed(["sync", *target.iterdir()]))
            shutil.rmtree(target)
        say(f"umbra {ours} s, virtnbdbackup {theirs} s, synced {durable} s")
        return min(ours), min(theirs), min(durable)

    def restores(self):
        """Best seconds of a restore of the newest point, and of qemu-img from a compressed image of the same disk."""
        point = self.stack.points(GUEST)[0]["name"]
        image = self._restore(point, "reference")[1]
        packed = self.folder / "packed.qcow2"
        timed(["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", image, packed])
        self._remove("reference")
        ours, theirs = [], []
        for i in range(ROUNDS):
            say(f"restore, round {i + 1} of {ROUNDS}")
            ours.append(self._restore(point, f"restored-{i}")[0])
            self._remove(f"restored-{i}")
            unpacked = self.folder / "unpacked.qcow2"
            theirs.append(timed(["qemu-img", "convert", "-O", "qcow2", packed, unpacked]))
            unpacked.unlink()
        say(f"umbra {ours} s, qemu-img {theirs} s")
        return min(ours), min(theirs)

    def _restore(self, point, name):
        took, _ = umbra_timed(self.stack, "restore", "run", point, "--name", name, "--target-folder", self.folder / name)
        return took, self.lab.disk_paths(name)["vda"]

    def _remove(self, name):
        self.lab.destroy(name)
        shutil.rmtree(self.folder / name)


def figure(name, value, unit, limit, against="", ratio=None, at_least=False):
    """A figure with a goal: `limit` is for the ratio when there is a peer, else for the value."""
    measured = value if ratio is None else ratio
    return {"name": f"first-vm/{name}", "value": round(value, 2), "unit": unit, "against": against,
            "ratio": None if ratio is None else round(ratio, 2), "goal": f"{'>=' if at_least else '<'} {limit}",
            "ok": measured >= limit if at_least else measured < limit}


def run(folder, build, cache):
    """Yields the figures, one dictionary each."""
    bench = Bench(folder, build, cache)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(bench.stop)
        bench.start()
        ours, theirs, durable = bench.backups()
        yield figure("full-backup", ours, "s", 2.0, f"virtnbdbackup {theirs:.2f} s", theirs / ours, at_least=True)
        yield figure("full-backup-durable", ours, "s", 2.0, f"virtnbdbackup and sync {durable:.2f} s", durable / ours, at_least=True)
        frozen = list(bench.freezes())
        yield figure("freeze-median", statistics.median(frozen), "ms", 200)
        yield figure("freeze-worst", max(frozen), "ms", 400)
        ours, theirs = bench.restores()
        yield figure("restore", ours, "s", 1.0, f"qemu-img convert {theirs:.2f} s", theirs / ours, at_least=True)
        yield figure("agent-memory-peak", bench.stack.agent.peak_rss_bytes() / MIB, "MiB", 256)
        yield figure("daemon-memory-peak", bench.stack.daemon.peak_rss_bytes() / MIB, "MiB", 256)

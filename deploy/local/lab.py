"""The lab (deploy/lab) for Python programs: quickstart, the end-to-end tests, the benchmarks.

Every call runs deploy/lab/lab and raises LabError with its last words when it fails. Needs root, as the lab does.
"""
import json
import pathlib
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[2]
LAB = REPO / "deploy/lab/lab"


class LabError(RuntimeError):
    """A lab command failed; the text is the last line that it said."""


class Lab:
    """One private libvirt below `root`; `cache` keeps what was built and may be shared."""

    def __init__(self, root, cache):
        self.root = pathlib.Path(root)
        self.cache = pathlib.Path(cache)

    @property
    def uri(self):
        return f"qemu:///system?socket={self.root}/sock/libvirt-sock"

    def run(self, *args, timeout=300):
        """The finished process, whatever its status."""
        command = [str(LAB), "--root", str(self.root), "--cache", str(self.cache), *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)

    def __call__(self, *args, timeout=300):
        """Standard output, stripped."""
        done = self.run(*args, timeout=timeout)
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
            raise LabError(f"lab {' '.join(map(str, args[:3]))}: {words}")
        return done.stdout.strip()

    def start(self):
        return self("start")

    def stop(self):
        self("stop")

    def create(self, name, *options):
        self("vm", "create", name, *options, timeout=600)

    def destroy(self, name):
        self("vm", "destroy", name)

    def wait_agent(self, name, timeout_s=120):
        self("vm", "wait-agent", name, timeout_s, timeout=timeout_s + 30)

    def guest(self, name, *argv, timeout=120):
        """Standard output of a program run in the guest."""
        return self("vm", "exec", name, "--", *argv, timeout=timeout)

    def virsh(self, *args, timeout=60):
        return self("virsh", *args, timeout=timeout)

    def state(self, name):
        """As virsh says it: "running", "paused", "shut off"; "undefined" when there is no such machine."""
        done = self.run("virsh", "domstate", name)
        return done.stdout.strip() if done.returncode == 0 else "undefined"

    def exists(self, name):
        return self.state(name) != "undefined"

    def frozen(self, name):
        """True while the guest's file systems are frozen."""
        answer = self.virsh("qemu-agent-command", name, '{"execute":"guest-fsfreeze-status"}', "--timeout", "10")
        return json.loads(answer)["return"] != "thawed"

    def has_backup_job(self, name):
        return self.run("virsh", "backup-dumpxml", name).returncode == 0

    def checkpoints(self, name):
        return self.virsh("checkpoint-list", name, "--name").split()

    def our_checkpoints(self, name):
        """Those that Umbra made: at most one when no backup runs."""
        return [checkpoint for checkpoint in self.checkpoints(name) if checkpoint.startswith("umbra-")]

    def rows(self, name):
        """Rows that the guest's writer has committed so far."""
        return int(self.guest(name, "writer", "/data/w", "count"))

    def boot_report(self, name):
        """What the guest found on its disk when it started."""
        return json.loads(self.guest(name, "cat", "/run/boot.json"))

    def verify_guest(self, name):
        """What the writer finds when it reads everything again, inside the guest; "kept" tells whether every promise was."""
        done = self.run("vm", "exec", name, "--", "writer", "/data/w", "verify")
        return {"kept": done.returncode == 0, **json.loads(done.stdout)}

    def verify_disk(self, image):
        """What a disk holds, seen from outside; "kept" tells whether every promise was."""
        done = self.run("verify-disk", image)
        if not done.stdout.strip():
            raise LabError(done.stderr.strip().splitlines()[-1])
        return {"kept": done.returncode == 0, **json.loads(done.stdout)}

    def disk_paths(self, name):
        """Image files of a machine's disks, by target name."""
        lines = self.virsh("domblklist", name, "--details").splitlines()
        rows = [line.split(None, 3) for line in lines]
        return {row[2]: row[3] for row in rows if len(row) == 4 and row[1] == "disk"}

#!/usr/bin/python3
"""Proves with the real programs that a repository and one key are enough: a machine without any state gets a key file by a recovery
key or a passphrase, its catalog is rebuilt, keys are added, removed and rotated from the command line, and what they open restores.

Usage: test_lost_machine.py MAKE_REPOSITORY UMBRAD UMBRA
"""
import json
import pathlib
import signal
import stat
import subprocess
import sys
import tempfile
import time

READER = pathlib.Path(__file__).with_name("read_repository.py")


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


class Machine:
    """One umbrad with a state folder of its own, on the repository."""

    def __init__(self, folder, name, repository, programs):
        self.state, self.umbrad, self.umbra = folder / name, programs[0], programs[1]
        self.flags = ["--data-dir", self.state, "--agent-listen", "127.0.0.1:0", "--enrolment-listen", "127.0.0.1:0",
                      "--repository", f"main={repository}"]
        self.process = None

    def recover(self, typed):
        return subprocess.run([self.umbrad, *self.flags, "--recover-key", "main"], input=typed, capture_output=True, text=True)

    def start(self):
        self.process = subprocess.Popen([self.umbrad, *self.flags], stderr=subprocess.PIPE, text=True)
        for _ in range(600):
            if (self.state / "umbrad.addresses").exists():
                return True
            if self.process.poll() is not None:
                self.words = self.process.stderr.read()
                return False
            time.sleep(0.05)
        sys.exit("FAILED: umbrad did not start in 30 s")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, words = self.process.communicate(timeout=60)
        return words

    def cli(self, *arguments, typed=None):
        done = subprocess.run([self.umbra, "--socket", self.state / "umbrad.sock", "--json", *arguments], input=typed,
                              capture_output=True, text=True)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stdout + done.stderr

    def must(self, *arguments, typed=None):
        code, answer, words = self.cli(*arguments, typed=typed)
        check(code == 0, f"umbra {arguments}: {words}")
        return answer


def restores(folder, repository, key):
    """The second reader restores every disk of every point with this key."""
    for raw in sorted(folder.glob("blake3.*.raw")):
        _, point, disk, _ = raw.name.split(".")
        target = folder / "restored"
        done = subprocess.run(["/usr/bin/python3", READER, repository, key, "restore", point, disk, target, "--no-ids"],
                              capture_output=True, text=True)
        check(done.returncode == 0 and target.read_bytes() == raw.read_bytes(), f"{key} {raw.name}: {done.stderr}")


def keys_by_command_line(machine, folder, repository):
    before = machine.must("repository", "key", "list")
    check(sum(key.get("inUse", False) for key in before) == 1, f"one key is the daemon's own: {before}")
    made = machine.must("repository", "key", "add", "--recovery", "--label", "safe")[0]
    (folder / "typed").write_text(made["recoveryKey"].lower().replace("-", " "))
    machine.must("repository", "key", "add", "--passphrase", "--label", "ann", typed="a line to remember\n")
    (folder / "phrase").write_text("a line to remember\n")
    stick = folder / "stick.key"
    added = machine.must("repository", "key", "add", "--key-file", str(stick))[0]
    check(stat.S_IMODE(stick.stat().st_mode) == 0o600, "a key file is for its owner")
    check("keyFile" not in added, "the secret is in the file, not in the output")
    code, _, words = machine.cli("repository", "key", "add", "--key-file", str(stick))
    check(code != 0 and "exists" in words, f"never over a file: {words}")
    check(len(machine.must("repository", "key", "list")) == len(before) + 3, "three more")
    for key in (f"recovery-key:{folder}/typed", f"passphrase:{folder}/phrase", f"key-file:{stick}"):
        restores(folder, repository, key)
    # Removed, and rotated: opens nothing more, the others do.
    name = added["key"]["name"].split("/")[-1]
    check(machine.cli("repository", "key", "remove", name)[0] == 2, "only with --yes")
    machine.must("repository", "key", "remove", name, "--yes")
    machine.must("repository", "key", "rotate")
    done = subprocess.run(["/usr/bin/python3", READER, repository, f"key-file:{stick}", "list"], capture_output=True, text=True)
    check(done.returncode == 1 and "wrong" in done.stderr, f"removed: {done.stderr}")
    restores(folder, repository, f"recovery-key:{folder}/typed")
    own = [key for key in machine.must("repository", "key", "list") if key.get("inUse")][0]["name"]
    code, _, words = machine.cli("repository", "key", "remove", own, "--yes")
    check(code == 5 and "KEY_IN_USE" in words, f"the daemon's own key stays: {code} {words}")
    return made["recoveryKey"]


def main(maker, *programs):
    with tempfile.TemporaryDirectory(prefix="umbra-keys-") as temporary:
        folder = pathlib.Path(temporary)
        subprocess.run([maker, folder], check=True, stderr=subprocess.DEVNULL)
        repository = folder / "blake3"
        first = Machine(folder, "first", repository, programs)
        check(not first.start() and "KEY_MISSING" in first.words, "no key, no start")
        wrong = first.recover((folder / "blake3.removed").read_text())
        check(wrong.returncode == 1 and "KEY_WRONG" in wrong.stderr, wrong.stderr)
        typo = first.recover("AAAAA" + (folder / "blake3.recovery").read_text()[5:])
        check(typo.returncode == 1 and "group 1" in typo.stderr, typo.stderr)
        right = first.recover((folder / "blake3.recovery").read_text())
        check(right.returncode == 0, right.stderr)
        check(first.start(), "starts with its new key file")
        check(len(first.must("recovery-point", "list")) == 3, "the catalog is rebuilt")
        recovery = keys_by_command_line(first, folder, repository)
        words = first.stop()
        check(recovery not in words and "line to remember" not in words, "secrets are not logged")
        # That machine is lost, too: the passphrase that was added there will do.
        second = Machine(folder, "second", repository, programs)
        check(second.recover("a line to remember\n").returncode == 0, "by passphrase")
        check(second.start() and len(second.must("recovery-point", "list")) == 3, "on the second machine")
        second.must("repository", "rebuild-catalog")
        second.stop()
    print("keys: a lost machine comes back from the repository and one key")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The part of deploy/quickstart after the build: start everything, back up, restore, prove, show.

quickstart.py run|stop --dir DIR --build BUILD [--stop-after]. Needs root. The last line is the result, as deploy/quickstart says.
"""
import argparse
import contextlib
import pathlib
import re
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from lab import Lab, LabError  # noqa: E402
from stack import Stack, StackError, number, seconds  # noqa: E402

GUEST = "db"
RESTORED = "db-restored"
FILL_MIB = 256  # of files on the guest's disk, so that there is something to read, to compress and to store once
ROWS_MIN = 50  # rows that the guest has committed before the backup starts: enough to lose some if we lose any
MIB = 1024 * 1024
DASHBOARD = pathlib.Path(__file__).resolve().parents[2] / "web/dist"
# The longest names below the folder are sockets of the lab (lab/sock/libvirt-admin-sock) and of a running backup, whose scratch
# folder (agent/scratch) the agent limits to 52 bytes.
DIR_BYTES_MAX = 38


class StepFailed(Exception):
    """A step of the flow did not do what it must; the text is the reason."""


@contextlib.contextmanager
def step(name, text):
    """Says what is being done and how long it took; turns every failure into one with the step's name."""
    print(f"{text + ' ...':58s}", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except (StepFailed, LabError, StackError, OSError, ValueError, KeyError) as error:
        print("failed")
        raise SystemExit(finish_failed(name, error)) from error
    print(f"{time.monotonic() - start:6.1f} s")


def finish_failed(name, error):
    print(f"\n{error}")
    words = re.sub(r"[^A-Za-z0-9./_-]+", "_", str(error) or type(error).__name__)[:160].strip("_")
    print(f"quickstart: FAILED step={name} reason={words}")
    return 1


def expect(truth, reason):
    if not truth:
        raise StepFailed(reason)


class Quickstart:
    """The flow; each step leaves its figures in `facts`."""

    def __init__(self, folder, build):
        self.folder = pathlib.Path(folder)
        self.lab = Lab(self.folder / "lab", self.folder / "cache")
        self.stack = Stack(self.folder, build, self.lab.uri)
        self.stack.dashboard = DASHBOARD
        self.facts = {}

    def stop(self):
        was_running = self.stack.stop()
        if self.lab.root.exists():
            self.lab.stop()
        return was_running

    def clear(self):
        """What an earlier run left: the daemons are stopped, its machines removed. Its backups stay and are reused."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stack.stop()
        self.lab.start()
        for name in (GUEST, RESTORED):
            self.lab.destroy(name)
        shutil.rmtree(self.stack.restored, ignore_errors=True)

    def start_guest(self):
        self.lab.create(GUEST, "--fill-mib", FILL_MIB)
        self.lab.wait_agent(GUEST)
        deadline = time.monotonic() + 60
        while self.lab.rows(GUEST) < ROWS_MIN:
            expect(time.monotonic() < deadline, "the guest commits no rows")
            time.sleep(0.2)

    def start_product(self):
        self.stack.start_daemon()
        self.stack.start_agent()
        self.stack.wait_vm(GUEST, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_CHILD_SNAPSHOT")

    def backup(self):
        self.facts["rows_before_freeze"] = self.lab.rows(GUEST)
        start = time.monotonic()
        result = self.stack.umbra("backup", "run", GUEST, "--watch")
        self.facts["backup_s"] = time.monotonic() - start
        expect(result.status == 0, f"{result.reason}: {result.message or result.talk}")
        self.point = result.last["recoveryPoints"][0]
        point = self.stack.umbra("recovery-point", "show", self.point.split("/")[-1]).last
        self.facts["freeze_ms"] = round(seconds(point["freezeDuration"]) * 1000)
        self.facts["read_mib"] = number(point, "readBytes") / MIB
        self.facts["stored_mib"] = number(point, "storedBytes") / MIB
        self.facts["mechanism"] = point["mechanism"].removeprefix("BACKUP_MECHANISM_").lower()
        expect(self.lab.state(GUEST) == "running" and not self.lab.frozen(GUEST), "the guest does not run as before")

    def restore(self):
        start = time.monotonic()
        result = self.stack.umbra("restore", "run", self.point.split("/")[-1], "--name", RESTORED, "--watch")
        self.facts["restore_s"] = time.monotonic() - start
        expect(result.status == 0, f"{result.reason}: {result.message or result.talk}")

    def prove_outside(self):
        disk = self.lab.disk_paths(RESTORED)["vda"]
        outside = self.lab.verify_disk(disk)
        self.facts["outside"] = outside
        self.facts["rows_restored"] = outside["rows"]
        expect(outside["needs_recovery"] is False, "the restored file system needs its journal replayed")
        self._expect_rows(outside)

    def prove_inside(self):
        self.lab.virsh("start", RESTORED)
        self.lab.wait_agent(RESTORED)
        report = self.lab.boot_report(RESTORED)
        self.facts["inside"] = report
        expect(report["needs_recovery"] == 0, "the restored guest had to replay its journal")
        self._expect_rows(report["found"])
        expect(report["found"]["rows"] == self.facts["rows_restored"], "inside and outside see different rows")
        expect(self.lab.verify_guest(RESTORED)["kept"], "the restored guest's data does not verify")

    def _expect_rows(self, found):
        expect(found["integrity"] == "ok" and found["bad"] == 0, f"damaged rows: {found}")
        expect(found["rows"] >= self.facts["rows_before_freeze"],
               f"{found['rows']} rows restored, {self.facts['rows_before_freeze']} were there before the freeze")

    def run(self):
        with step("start-lab", "Starting a private libvirt"):
            self.clear()
        with step("start-guest", "Starting a guest with a database that keeps writing"):
            self.start_guest()
        with step("start-umbra", "Starting umbrad and umbra-agent"):
            self.start_product()
        with step("backup", "Backing the guest up while it writes"):
            self.backup()
        with step("restore", "Restoring it to a new virtual machine"):
            self.restore()
        with step("prove-outside", "Proving the restored disk from outside"):
            self.prove_outside()
        with step("prove-inside", "Booting it and proving its data from inside"):
            self.prove_inside()

    def show_table(self):
        facts, outside, inside = self.facts, self.facts["outside"], self.facts["inside"]
        rows = [
            ("mechanism", facts["mechanism"], "the guest froze its own file systems, it was never paused or saved"),
            ("guest frozen", f"{facts['freeze_ms']} ms", "from the freeze call to the answer of the thaw"),
            ("read", f"{facts['read_mib']:.1f} MiB", "allocated parts of a 2 GiB disk, while the guest wrote"),
            ("stored", f"{facts['stored_mib']:.1f} MiB", "new in the repository: without zeros and repeats, compressed"),
            ("backup", f"{facts['backup_s']:.1f} s", "guest -> agent -> TLS -> daemon -> disk, committed"),
            ("restore", f"{facts['restore_s']:.1f} s", "every chunk verified while it was written"),
            ("rows before the freeze", facts["rows_before_freeze"], "committed in the guest's SQLite database"),
            ("rows restored", facts["rows_restored"], f"integrity {outside['integrity']}, damaged {outside['bad']}"),
            ("journal replay, outside", "not needed" if not outside["needs_recovery"] else "NEEDED", f"e2fsck: {outside['e2fsck']}"),
            ("journal replay, inside", "not needed" if not inside["needs_recovery"] else "NEEDED",
             f"{inside['found']['rows']} rows found at boot, integrity {inside['found']['integrity']}"),
        ]
        print()
        for label, value, note in rows:
            print(f"  {label:24s} {str(value):>14s}   {note}")
        print()

    def show_dashboard(self):
        """Where it is, and what one signs in with; nothing for what an earlier version of this flow set up without it."""
        address = self.stack.addresses().get("http_address")
        credential = self.stack.daemon_data / "first-credential"
        if not address:
            return
        print(f"The dashboard (its certificate is of the daemon's own authority, so the browser asks):\n  https://{address}/")
        if credential.exists():
            print(f"  sign in as admin with what is in {credential}\n")

    def show_hints(self, script):
        self.show_dashboard()
        print(f"Everything keeps running below {self.folder}. To look at it:\n"
              f"  export UMBRA_SOCKET={self.stack.socket}\n"
              f"  {self.stack.cli} vm list\n"
              f"  {self.stack.cli} backup run {GUEST} --watch\n"
              f"  {self.stack.cli} recovery-point list\n"
              "To have it backed up by itself, every minute, and thinned to an hour's points:\n"
              f"  {self.stack.cli} policy create minutely --select name={GUEST} --schedule \"every minute\" --keep-within 1h\n"
              f"  {self.stack.cli} policy preview minutely --days 1\n"
              f"  {self.stack.cli} policy retention minutely     # which points would go, and what keeps each other one\n"
              "To look inside it:\n"
              f"  {script.parent}/lab/lab --root {self.lab.root} vm exec {GUEST} -- writer /data/w count\n"
              f"To stop it:\n  {script} --stop --dir {self.folder}\n")

    def result_line(self):
        facts = self.facts
        return (f"quickstart: OK freeze_ms={facts['freeze_ms']} full_read_mib={facts['read_mib']:.0f} "
                f"stored_mib={facts['stored_mib']:.0f} backup_s={facts['backup_s']:.1f} restore_s={facts['restore_s']:.1f} "
                f"rows_before_freeze={facts['rows_before_freeze']} rows_restored={facts['rows_restored']}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["run", "stop"])
    parser.add_argument("--dir", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--stop-after", action="store_true")
    args = parser.parse_args()
    if len(args.dir.encode()) > DIR_BYTES_MAX:
        return finish_failed("folder", f"{args.dir} is longer than {DIR_BYTES_MAX} bytes, unix sockets would not fit; use --dir")
    quickstart = Quickstart(args.dir, args.build)
    if args.mode == "stop":
        print("stopped" if quickstart.stop() else "nothing was running")
        return 0
    quickstart.run()
    quickstart.show_table()
    if args.stop_after:
        quickstart.stop()
    else:
        quickstart.show_hints(pathlib.Path(__file__).resolve().parents[1] / "quickstart")
    print(quickstart.result_line())
    return 0


if __name__ == "__main__":
    sys.exit(main())

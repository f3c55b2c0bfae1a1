"""The dashboard with real guests: what deploy/quickstart starts, but enrolled, backed up and restored by hand in a browser."""
import pathlib
import shlex
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local"), str(REPO / "tests/support"), str(pathlib.Path(__file__).parent)]
from lab import Lab  # noqa: E402
from quickstart import FILL_MIB, GUEST, RESTORED  # noqa: E402
from stack import Stack, wait_for  # noqa: E402
from walking import walk  # noqa: E402

MUTE = "mute"  # a machine whose guest can't freeze itself


class GuestWorld:
    """A private libvirt with two guests, and a daemon that knows of no host yet."""

    def __init__(self, build, cache, folder):
        self.lab = Lab(folder / "l", cache)
        self.stack = Stack(folder / "m", build, self.lab.uri)
        self.stack.inventory_seconds = 1
        self.stack.dashboard = REPO / "web/dist"

    def start(self):
        self.lab.start()
        self.lab.create(GUEST, "--fill-mib", FILL_MIB)
        self.lab.create(MUTE, "--no-agent")
        self.stack.start_daemon()
        self.lab.wait_agent(GUEST)

    def enrol(self, command):
        """As a person does it who copied the command: the token is the dashboard's."""
        words = shlex.split(command)
        token = words[words.index("--token") + 1]
        self.stack.new_token = lambda: token
        self.stack.start_agent()
        self.stack.wait_vm(GUEST, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_CHILD_SNAPSHOT")
        return "enrolled"

    def prove(self):
        """Looks at the restored disk from outside: whether everything that the guest had committed is there and whole."""
        rows = self.lab.rows(GUEST)
        wait_for(lambda: self.lab.exists(RESTORED), 30, "the restored machine should be there")
        found = self.lab.verify_disk(self.lab.disk_paths(RESTORED)["vda"])
        whole = found["integrity"] == "ok" and found["bad"] == 0 and not found["needs_recovery"] and 0 < found["rows"] <= rows
        return "kept" if whole else str(found)

    def answer(self, what):
        return self.prove() if what == "prove" else self.enrol(what)

    def stop(self):
        self.stack.stop()
        self.lab.stop()


def cases(build, cache, shots, folder):
    """Yields (step, seconds, failure or None). `folder` is short: sockets lie below it."""
    world = GuestWorld(build, cache, folder)
    try:
        world.start()
        yield from walk("guest.mjs", world.stack, shots, world.answer)
    finally:
        world.stop()

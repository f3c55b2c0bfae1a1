"""The dashboard in Debian's Chromium against a real umbrad and umbra-agent: sign in, back up, watch, restore, enrol, maintenance, keys, users, the
daemon killed and started again while somebody watches; axe and the content policy on every page. First with a simulated hypervisor; with
--cache also with real guests.

run.py --build BUILD --junit FILE [--cache LAB_CACHE] [--only PART] [--shots FOLDER] [--keep]. Needs web/dist and web/node_modules
(deploy/build-dashboard), chromium, and root for the guests.
"""
import argparse
import pathlib
import shutil
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local"), str(REPO / "tests/support"), str(pathlib.Path(__file__).parent)]
import guest  # noqa: E402
import results  # noqa: E402
from stack import Stack  # noqa: E402
from walking import walk  # noqa: E402


class SimulatedStack(Stack):
    def hypervisor_flags(self):
        machines = [flag for name, mib in (("db01", 256), ("db02", 128), ("web01", 64)) for flag in ("--simulated-vm", f"{name}={mib}")]
        return ["--hypervisor", "simulated", *machines]


def simulated(build, shots, folder):
    """Yields (step, seconds, failure or None)."""
    stack = SimulatedStack(folder, build, "")
    stack.dashboard = REPO / "web/dist"

    def answer(wish):
        if wish == "kill":
            stack.daemon.kill()
        else:
            stack.start_daemon()
        return "done"
    start = time.monotonic()
    try:
        stack.start_daemon()
        stack.start_agent()
        made = stack.umbra("policy", "create", "nightly", "--select", "all", "--schedule", "daily at 22:00", "--zone", "Europe/Berlin", "--keep-daily", "14")
        yield "policy", time.monotonic() - start, None if made.status == 0 else str(made)
        stack.wait_vm("db01", lambda vm: True)
        yield from walk("walk.mjs", stack, shots, answer)
    finally:
        stack.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--junit", required=True)
    parser.add_argument("--cache", help="of the labs' images; without it there are no real guests")
    parser.add_argument("--only", choices=["simulated", "guest"])
    parser.add_argument("--shots", help="pictures of the pages go here")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the daemons also after a success")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="udash.", dir="/tmp"))
    shots = pathlib.Path(args.shots).resolve() if args.shots else folder / "shots"
    shots.mkdir(parents=True, exist_ok=True)
    build = pathlib.Path(args.build).resolve()
    cases = []
    parts = []
    if args.only != "guest":
        parts.append(("simulated", simulated(build, shots, folder)))
    if args.cache and args.only != "simulated":
        parts.append(("guest", guest.cases(build, args.cache, shots, folder / "g")))
    for part, steps in parts:
        for step, seconds, failure in steps:
            print(f"{part:10s} {step:40s} {seconds:6.1f} s  {failure or 'ok'}", flush=True)
            cases.append((f"{part}: {step}", seconds, failure))
    results.write(args.junit, "browser", cases)
    failed = [case for case in cases if case[2] is not None]
    if failed or args.keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The dashboard in Debian's Chromium against a real umbrad and umbra-agent (simulated hypervisor): sign in, back up, watch, restore, enrol,
maintenance, the daemon killed and started again while somebody watches; axe and the content policy on every page.

run.py --build BUILD --junit FILE [--shots FOLDER] [--keep]. Needs web/dist and web/node_modules (deploy/build-dashboard) and chromium.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))
sys.path.insert(0, str(REPO / "tests/support"))
import results  # noqa: E402
from stack import Stack  # noqa: E402


class SimulatedStack(Stack):
    def hypervisor_flags(self):
        machines = [flag for name, mib in (("db01", 256), ("db02", 128), ("web01", 64)) for flag in ("--simulated-vm", f"{name}={mib}")]
        return ["--hypervisor", "simulated", *machines]


def password(stack):
    """What the first user signs in with: the last word of the file."""
    return (stack.daemon_data / "first-credential").read_text().split()[-1]


def walk(stack, shots):
    """Runs the browser; yields (step, seconds, failure or None). It asks for the daemon's death and return by a line."""
    command = ["node", str(REPO / "web/e2e/walk.mjs"), f"https://{stack.addresses()['http_address']}", password(stack), str(shots)]
    browser = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO / "web")
    try:
        for line in browser.stdout:
            said = json.loads(line)
            if "ask" in said:
                if said["ask"] == "kill":
                    stack.daemon.kill()
                else:
                    stack.start_daemon()
                browser.stdin.write("done\n")
                browser.stdin.flush()
            else:
                yield said["step"], said["seconds"], said.get("failure")
        if browser.wait() != 0:
            yield "browser", 0.0, f"the browser's program ended with {browser.returncode}"
    finally:
        if browser.poll() is None:
            browser.kill()
            browser.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--junit", required=True)
    parser.add_argument("--shots", help="pictures of the pages go here")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the daemons also after a success")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="udash.", dir="/tmp"))
    shots = pathlib.Path(args.shots).resolve() if args.shots else folder / "shots"
    shots.mkdir(parents=True, exist_ok=True)
    stack = SimulatedStack(folder, pathlib.Path(args.build).resolve(), "")
    stack.dashboard = REPO / "web/dist"
    cases = []
    start = time.monotonic()
    try:
        stack.start_daemon()
        stack.start_agent()
        made = stack.umbra("policy", "create", "nightly", "--select", "all", "--schedule", "daily at 22:00", "--zone", "Europe/Berlin", "--keep-daily", "14")
        cases.append(("policy", time.monotonic() - start, None if made.status == 0 else str(made)))
        stack.wait_vm("db01", lambda vm: True)
        for case in walk(stack, shots):
            print(f"{case[0]:40s} {case[1]:6.1f} s  {case[2] or 'ok'}", flush=True)
            cases.append(case)
    finally:
        stack.stop()
    results.write(args.junit, "browser", cases)
    failed = [case for case in cases if case[2] is not None]
    if failed or args.keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

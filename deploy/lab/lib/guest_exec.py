"""Runs a program in a guest through the QEMU guest agent: guest_exec.py URI NAME CMD ARG...

Copies the program's output and errors to its own, and exits with its status (128 + N when signal N ended it).
Exits with 125 when the agent could not be asked, so that this is not mistaken for the program's own failure.
"""
import base64
import json
import subprocess
import sys
import time

# Beyond this the agent is taken for hung; libvirt itself gives up waiting for a frozen guest sooner.
AGENT_TIMEOUT_S = 30


def ask(uri, name, command, arguments):
    """Returns the agent's answer to one command, or raises RuntimeError with virsh's words."""
    request = json.dumps({"execute": command, "arguments": arguments})
    done = subprocess.run(
        ["virsh", "-q", "-c", uri, "qemu-agent-command", name, request, "--timeout", str(AGENT_TIMEOUT_S)],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)["return"]


def run(uri, name, argv):
    """Starts argv in the guest, waits for its end, and returns its exit status."""
    pid = ask(uri, name, "guest-exec", {"path": argv[0], "arg": argv[1:], "capture-output": True})["pid"]
    pause_s = 0.02
    while not (status := ask(uri, name, "guest-exec-status", {"pid": pid}))["exited"]:
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.5)
    sys.stdout.buffer.write(base64.b64decode(status.get("out-data", "")))
    sys.stderr.buffer.write(base64.b64decode(status.get("err-data", "")))
    return status["exitcode"] if "exitcode" in status else 128 + status.get("signal", 0)


def main():
    if len(sys.argv) < 4:
        sys.exit("usage: guest_exec.py URI NAME CMD ARG...")
    try:
        return run(sys.argv[1], sys.argv[2], sys.argv[3:])
    except (RuntimeError, ValueError, KeyError) as error:
        print(f"lab: error: guest agent of '{sys.argv[2]}': {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())

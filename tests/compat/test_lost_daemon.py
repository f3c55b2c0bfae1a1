#!/usr/bin/python3
"""Proves with the real programs that a repository and its key bring a whole daemon back: policies, hosts, history, recovery points, and
the certificate authority, so that the agent comes back by itself with the certificate that it has. The hypervisor is simulated.

Usage: test_lost_daemon.py BUILD
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "deploy/local"))
from stack import Stack, wait_for  # noqa: E402

GUEST = "guest"


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


class LostStack(Stack):
    """The repository and its key outlive the state folder."""

    def _new_config(self):
        return super()._new_config() + f'[[repository]]\nid = "vault"\npath = "{self.folder}/vault"\n'

    def hypervisor_flags(self):
        return ["--hypervisor", "simulated", "--simulated-vm", f"{GUEST}=8"]

    def must(self, *command):
        done = self.umbra(*command)
        check(done.status == 0, f"umbra {command}: {done}")
        return done

    def restore(self, *flags, typed=""):
        return subprocess.run([self.daemon.binary, "--config", self.config, "restore-catalog", "--repository", self.folder / "vault", *flags],
                              input=typed, capture_output=True, text=True, check=False)

    def succeeded(self, policy):
        return [job for job in self.umbra("job", "list", "--limit", 0).objects
                if job.get("policy") == f"policies/{policy}" and job["state"] == "STATE_SUCCEEDED"]


def wipe(stack, keep):
    """The state folder is gone; of its key file there is a copy elsewhere."""
    stack.daemon.stop()
    shutil.copy(stack.daemon_data / "keys/vault.key", keep)
    shutil.rmtree(stack.daemon_data)


def comes_back_whole(stack, key):
    """Everything that a person or an agent would miss is there again."""
    stack.must("policy", "create", "often", "--select", "all", "--schedule", "every 2 seconds", "--retries", "0")
    wait_for(lambda: stack.succeeded("often"), 60, "the policy should back the guest up")
    stack.must("policy", "pause", "often")
    wait_for(lambda: not stack.umbra("job", "list", "--active").objects, 60, "its jobs should end")
    points = sorted(point["name"] for point in stack.points())
    host = stack.must("host", "list").last["name"]
    copied = stack.must("catalog", "backup").last
    check(len(copied["repositories"][0]["copies"]) >= 1, copied)
    late = stack.must("backup", "run", GUEST, "--watch").last["recoveryPoints"][0]  # no copy knows of it ...
    wanted = stack.must("policy", "resume", "often").last["name"]
    stack.must("policy", "pause", "often")
    stack.must("catalog", "backup")
    stack.must("catalog", "check")
    identity = (stack.agent_data / "identity.pem").read_bytes()
    running = stack.restore("--key-file", stack.daemon_data / "keys/vault.key")
    check(running.returncode == 1 and "FILE_LOCKED" in running.stderr, f"never under a running daemon: {running.stderr}")

    wipe(stack, key)
    listed = stack.restore("--key-file", key, "--list")
    check(listed.returncode == 0 and "umbrad" in listed.stdout, listed.stdout + listed.stderr)
    done = stack.restore("--key-file", key)
    check(done.returncode == 0 and "1 policies, 1 hosts, certificate authority" in done.stdout, done.stdout + done.stderr)
    checked = subprocess.run([stack.daemon.binary, "--config", stack.config, "check-catalog"], capture_output=True, text=True, check=False)
    check(checked.returncode == 0 and "sound" in checked.stdout, checked.stdout + checked.stderr)
    stack.start_daemon()
    wait_for(stack.online, 60, "the agent should come back by itself")
    check((stack.agent_data / "identity.pem").read_bytes() == identity, "with the certificate that it had")
    check(stack.must("host", "list").last["name"] == host, "as the host that it was")
    check(sorted(point["name"] for point in stack.points()) == sorted({*points, late}), "every recovery point is there")
    check(stack.must("policy", "list").last["name"] == wanted, "the policy is there")
    stack.wait_vm(GUEST)
    stack.must("restore", "run", late, "--name", "back", "--watch")
    before = len(stack.succeeded("often"))
    check(before >= 1, "history is there")
    stack.must("policy", "resume", "often")
    wait_for(lambda: len(stack.succeeded("often")) > before, 60, "the policy should go on")
    stack.must("policy", "pause", "often")
    wait_for(lambda: not stack.umbra("job", "list", "--active").objects, 60, "its jobs should end")
    return sorted(point["name"] for point in stack.points())


def comes_back_from_the_points_alone(stack, key, points):
    """Where there is no copy, recovery points come back, and what is missing is said."""
    recovery = stack.must("repository", "key", "add", "--recovery").last["recoveryKey"]
    wipe(stack, key)
    for copy in (stack.folder / "vault/catalogs").iterdir():
        copy.write_bytes(copy.read_bytes()[:-1])  # none is sound any more
    wrong = stack.restore(typed="not the key of anything\n")
    check(wrong.returncode == 1 and "KEY_WRONG" in wrong.stderr, wrong.stderr)
    done = stack.restore(typed=recovery + "\n")
    check(done.returncode == 0, done.stdout + done.stderr)
    check("passed over" in done.stdout and "not restored: policies" in done.stdout, done.stdout)
    check(recovery not in done.stdout + done.stderr, "secrets are not shown")
    again = stack.restore(typed=recovery + "\n")
    check(again.returncode == 1 and "TARGET_EXISTS" in again.stderr, again.stderr)
    stack.start_daemon()
    check(sorted(point["name"] for point in stack.points()) == points, "every recovery point is there")


def main(build):
    with tempfile.TemporaryDirectory(prefix="ulost.", dir="/tmp") as temporary:
        folder = pathlib.Path(temporary)
        stack = LostStack(folder / "s", build, "")
        stack.heartbeat, stack.lease, stack.inventory_seconds = "1s", "6s", 1
        try:
            stack.start_daemon()
            stack.start_agent()
            stack.wait_vm(GUEST)
            points = comes_back_whole(stack, folder / "stick.key")
            comes_back_from_the_points_alone(stack, folder / "stick2.key", points)
        finally:
            stack.stop()
    print("lost daemon: back from a repository and its key")


if __name__ == "__main__":
    main(*sys.argv[1:])

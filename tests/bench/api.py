"""The API: calls a second by gRPC and by REST beside a bare gRPC server, what 3,000 idle event streams cost, and how soon an event is on all of them."""
import json
import os
import pathlib
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / "deploy/local")]
from stack import Stack, free_port, wait_for  # noqa: E402

STREAMS = 3000
ROUNDS = 5
SECONDS = 8
AT_ONCE = 16
MIB_MAX = 400
VISIBLE_MS = 250
GRPC_SHARE = 0.5  # of what the bare server answers
REST_SHARE = 0.25


class RestStack(Stack):
    def _new_config(self):
        return super()._new_config() + f'[http]\nlisten = "127.0.0.1:{free_port()}"\nrequests_per_second = 0\n'


def of_status(pid, field):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(field + ":")).split()[1])


def figure(name, value, unit, goal="", ok=None, against="", ratio=None):
    return {"name": f"api/{name}", "value": round(value, 3), "unit": unit, "against": against, "ratio": ratio, "goal": goal, "ok": ok}


def run(folder, build, _cache):
    program = pathlib.Path(build) / "tests/bench/api/api_bench"
    stack = RestStack(folder / "rest", build, "")
    stack.start_daemon()
    os.environ["UMBRA_TOKEN"] = stack.umbra("token", "create", "admin").last["secret"]
    try:
        yield from streams(stack, program)
        yield from calls(stack, program)
    finally:
        stack.stop()


def streams(stack, program):
    pid, address = stack.daemon.pid(), stack.addresses()["http_address"]
    rss, threads = of_status(pid, "VmRSS"), of_status(pid, "Threads")
    client = subprocess.Popen([program, "streams", address, str(STREAMS), str(ROUNDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    opened = json.loads(client.stdout.readline())
    more_mib = (of_status(pid, "VmRSS") - rss) / 1024
    more_threads = of_status(pid, "Threads") - threads
    client.stdin.write("\n")
    client.stdin.close()
    seen = json.loads(client.stdout.readline())
    client.wait()
    yield figure("open", STREAMS / opened["open_s"], "streams/s")
    yield figure("memory of 3,000 streams", more_mib, "MiB", f"< {MIB_MAX}", more_mib < MIB_MAX)
    yield figure("threads of 3,000 streams", more_threads, "threads", "none each", more_threads < 32)
    yield figure("event visible p50", seen["p50_ms"], "ms")
    yield figure("event visible p99", seen["p99_ms"], "ms", f"< {VISIBLE_MS}", seen["p99_ms"] < VISIBLE_MS)


def calls(stack, program):
    job = stack.umbra("repository", "verify", "--watch").last["name"]
    wait_for(lambda: stack.job(job)["state"] == "STATE_SUCCEEDED", 30, "the job should end")

    def rate(kind, where):
        done = subprocess.run([program, kind, where, job, str(AT_ONCE), str(SECONDS)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    bare = rate_of_echo(program, stack.folder / "echo.sock", rate)
    yield figure("bare gRPC", bare["per_s"], "calls/s")
    yield figure("bare gRPC p99", bare["p99_ms"], "ms")
    for kind, where, goal in (("grpc", str(stack.socket), GRPC_SHARE), ("rest", stack.addresses()["http_address"], REST_SHARE)):
        done = rate(kind, where)
        share = done["per_s"] / bare["per_s"]
        yield figure(f"GetJob by {kind}", done["per_s"], "calls/s", f">= {goal} of bare gRPC", share >= goal, "bare gRPC", round(share, 3))
        yield figure(f"GetJob by {kind} p99", done["p99_ms"], "ms")


def rate_of_echo(program, socket, rate):
    server = subprocess.Popen([program, "echo", str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()
        return rate("grpc", str(socket))
    finally:
        server.stdin.close()
        server.wait(timeout=30)

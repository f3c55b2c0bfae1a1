"""The VSS engine by itself: what a snapshot set and a backup session cost when writers and providers do nothing.

The program is tests/bench/vss/vss_engine_bench.cc; its best of three runs counts, because other load on the machine only ever makes
things slower.
"""
import json
import pathlib
import subprocess

ROUNDS = 3
# name of the figure, its goal, whether more is better
GOALS = {"set-overhead": (2.0, False), "set-overhead-worst": (None, False), "set-overhead-cpu": (None, False),
         "sessions": (1000, True), "sessions-wall": (None, True)}


def measure(program):
    """One run: name -> (value, unit)."""
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    figures = (json.loads(line) for line in done.stdout.splitlines())
    return {figure["name"]: (figure["value"], figure["unit"]) for figure in figures}


def run(_folder, build, _cache):
    """Yields the figures, one dictionary each."""
    rounds = [measure(pathlib.Path(build) / "tests/bench/vss/vss_engine_bench") for _ in range(ROUNDS)]
    for name, (goal, more_is_better) in GOALS.items():
        value = (max if more_is_better else min)(figures[name][0] for figures in rounds)
        met = None if goal is None else (value >= goal if more_is_better else value < goal)
        yield {"name": f"vss/{name}", "value": round(value, 3), "unit": rounds[0][name][1],
               "goal": None if goal is None else f"{'>=' if more_is_better else '<'} {goal}", "ok": met}

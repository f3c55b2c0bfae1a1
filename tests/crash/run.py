#!/usr/bin/env python3
"""Walks every named crash point of both daemons with real processes: one test for each point.

run.py [--build DIR] [--cache DIR] [--filter TEXT] [--junit FILE] [--keep]
One line a test; status 0 when all passed. With --keep, or when a test failed, the folders stay (logs of both daemons). Tests of the
agent need root and the lab, those of the daemon neither. tests/crash/points.py prints the points and who walks each.
"""
import argparse
import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "support"), str(HERE.parents[1] / "deploy/local")]
import results  # noqa: E402
import walk  # noqa: E402
from reporter import Reporter, selected  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=walk.Options.build)
    parser.add_argument("--cache", default=walk.Options.cache)
    parser.add_argument("--filter", default="")
    parser.add_argument("--junit")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    walk.Options.build, walk.Options.cache, walk.Options.keep = args.build, args.cache, args.keep
    tests = list(selected(unittest.defaultTestLoader.discover(str(HERE), "test_*.py", str(HERE)), args.filter))
    if not tests:
        sys.exit(f"no test fits '{args.filter}'")
    reporter = walk.Options.reporter = Reporter()
    start = time.monotonic()
    try:
        unittest.TestSuite(tests).run(reporter)
    finally:
        walk.end_shared_lab()
    failed = [case for case in reporter.cases if case[2] is not None]
    if args.junit:
        results.write(args.junit, "crash", reporter.cases)
    print(f"crash: {len(reporter.cases) - len(failed)} passed, {len(failed)} failed, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs the end-to-end tests: a real guest, the real daemon, agent and command line.

run.py [--build DIR] [--cache DIR] [--filter TEXT] [--junit FILE] [--keep]
One line a test; status 0 when all passed. With --keep, or when a test failed, the world's folder stays (logs of both daemons).
"""
import argparse
import pathlib
import sys
import time
import traceback
import unittest

import world
import results
from reporter import Reporter, selected


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(world.REPO / "build/dev"))
    parser.add_argument("--cache", default=str(world.REPO / "build/lab-cache"))
    parser.add_argument("--filter", default="")
    parser.add_argument("--junit")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    tests = list(selected(unittest.defaultTestLoader.discover(str(here), "test_*.py", str(here)), args.filter))
    if not tests:
        sys.exit(f"no test fits '{args.filter}'")
    reporter = Reporter()
    world.WORLD = world.World(args.build, args.cache)
    start = time.monotonic()
    try:
        world.WORLD.start()
        print(f"world  {time.monotonic() - start:6.1f} s  {world.WORLD.root}", flush=True)
        unittest.TestSuite(tests).run(reporter)
    except Exception:  # the world could not be made: that is a failed test too, not a crash of the runner
        reporter.cases.append(("world", time.monotonic() - start, traceback.format_exc()))
        traceback.print_exc()
    finally:
        failed = [case for case in reporter.cases if case[2] is not None]
        world.WORLD.stop(args.keep or bool(failed))
        if args.junit:
            results.write(args.junit, "e2e", reporter.cases)
    print(f"e2e: {len(reporter.cases) - len(failed)} passed, {len(failed)} failed, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

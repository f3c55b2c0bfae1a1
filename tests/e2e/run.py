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


class Reporter(unittest.TestResult):
    """Prints each test as it ends and keeps it for the JUnit file."""

    def __init__(self):
        super().__init__()
        self.cases = []
        self._failure = None
        self._start = 0.0

    def startTest(self, test):  # noqa: N802 (unittest's name)
        super().startTest(test)
        self._failure = None
        self._start = time.monotonic()

    def stopTest(self, test):  # noqa: N802
        seconds = time.monotonic() - self._start
        self.cases.append((test.id(), seconds, self._failure))
        print(f"{'FAILED' if self._failure else 'ok':6s} {seconds:6.1f} s  {test.id()}", flush=True)
        if self._failure:
            print(self._failure, flush=True)
        super().stopTest(test)

    def _note(self, error):
        self._failure = (self._failure or "") + "".join(traceback.format_exception(*error))

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self._note(err)

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self._note(err)

    def addSubTest(self, test, subtest, err):  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failure = (self._failure or "") + f"{subtest.id()}\n"
            self._note(err)


def selected(suite, text):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from selected(test, text)
        elif text in test.id():
            yield test


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

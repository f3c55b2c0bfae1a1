"""What the end-to-end and the crash tests print as they go, and keep for their JUnit file."""
import time
import traceback
import unittest


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
        self._close(test.id())
        super().stopTest(test)

    def _close(self, name):
        seconds = time.monotonic() - self._start
        self.cases.append((name, seconds, self._failure))
        print(f"{'FAILED' if self._failure else 'ok':6s} {seconds:6.1f} s  {name}", flush=True)
        if self._failure:
            print(self._failure, flush=True)
        self._failure = None

    def _note(self, error):
        self._failure = (self._failure or "") + "".join(traceback.format_exception(*error))

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self._note(err)
        if not isinstance(test, unittest.TestCase):  # what a class needs could not be made: no test of it starts
            self._start = time.monotonic()
            self._close(test.id())

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

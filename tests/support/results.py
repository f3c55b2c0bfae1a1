"""Results of tests as JUnit files: written by the end-to-end tests, and summed over every kind of test for the last line."""
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


SAID_LINES_MAX = 12
SAID_LINE_MAX = 300


def write(path, suite, cases):
    """`cases`: (name, seconds, failure text or None)."""
    root = ElementTree.Element("testsuite", name=suite, tests=str(len(cases)),
                               failures=str(sum(1 for case in cases if case[2] is not None)))
    for name, seconds, failure in cases:
        node = ElementTree.SubElement(root, "testcase", name=name, classname=suite, time=f"{seconds:.3f}")
        if failure is not None:
            ElementTree.SubElement(node, "failure", message=failure.strip().splitlines()[-1]).text = failure
    ElementTree.ElementTree(root).write(path, encoding="unicode")


def cases_in(path):
    """(name, failure or None) of every test that ran, in a JUnit file of GoogleTest, ctest or `write`."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.get("status") in ("notrun", "disabled") or case.find("skipped") is not None:
            continue
        failure = case.find("failure")
        name = case.get("name")
        if case.get("classname") != name and not name.startswith(case.get("classname") + "."):
            name = f"{case.get('classname')}.{name}"
        yield name, None if failure is None else failure.get("message", "")


def sum_folder(folder, only="*"):
    """Passed (stage, name) and failed (stage, name, what it said) of a results folder with one sub-folder a stage; `only` names one stage.

    A stage run by ctest has ctest.xml, which counts test programs, and gtest/PROGRAM.xml for each that is a GoogleTest: that one
    counts its cases instead, unless all of them passed although ctest says that the program failed (it crashed at the end).
    """
    passed, failed = [], []
    for file in sorted(pathlib.Path(folder).glob(f"{only}/*.xml")):
        stage = file.parent.name
        for name, failure in cases_in(file):
            program = file.parent / "gtest" / f"{name}.xml"
            inner = list(cases_in(program)) if file.name == "ctest.xml" and program.exists() else []
            bad = [(stage, case, text) for case, text in inner if text is not None]
            passed += [(stage, case) for case, text in inner if text is None]
            failed += bad
            if not inner and failure is None:
                passed.append((stage, name))
            elif failure is not None and not bad:
                failed.append((stage, name, failure))
    return passed, failed


def main():
    """results.py sum FOLDER [STAGE] | results.py write FILE NAME SECONDS STATUS LOG"""
    if sys.argv[1] == "write":
        path, name, seconds, status, log = sys.argv[2:]
        failure = None if status == "0" else pathlib.Path(log).read_text(errors="replace")[-4000:] + f"\nstatus {status}"
        write(path, name, [(name, float(seconds), failure)])
        return 0
    passed, failed = sum_folder(*sys.argv[2:])
    for stage, name, said in failed:
        print(f"FAILED {stage}: {name}")
        # Where only this is kept of a run it has to tell what happened, a random test's seed for one.
        for line in said.strip().splitlines()[:SAID_LINES_MAX]:
            print(f"    {line[:SAID_LINE_MAX]}")
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed or not (passed or sys.argv[3:]) else 0


if __name__ == "__main__":
    sys.exit(main())

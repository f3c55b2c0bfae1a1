"""The rules one by one: the test that proves each, on which hypervisor it ran, proven or not.

report.py RESULTS RULES: from the JUnit files of a run (tests/run), with conformance/rules.xml written there for its sum. The last
line is "conformance: N rules, N proven, N missing"; exit status 1 when a rule of the kind seed isn't proven.
report.py --check ROOT: whether RULES has every rule once and names only tests that the sources have.

A line of RULES: id | kind (seed, ext, doc) | rule | the rule of the other list | tests | tests on libvirt. Every test of a rule must
have passed. "missing: why" beside or instead of tests says that they don't prove all of it. The tests on libvirt need the stages lab
or e2e; without them the rule is proven on the simulated hypervisor alone, and one that failed proves nothing. End-to-end tests are
named without the numbers that keep their order.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import results  # noqa: E402

IDS = (["M1", "M2", "M2a", "M2b", "M2c", "M2d", "M2e"] + [f"B{n}" for n in range(1, 11)] + [f"R{n}" for n in range(1, 9)] +
       ["C1", "C2", "C3"] + [f"HV-{n:02}" for n in range(1, 42)])
KINDS = ("seed", "ext", "doc")
LIBVIRT_STAGES = ("lab", "e2e")


class Rule:
    def __init__(self, line):
        self.id, self.kind, self.text, self.other, tests, libvirt = [part.strip() for part in line.split("|")]
        tests, _, why = tests.partition("missing:")
        self.tests, self.libvirt, self.missing = tests.split(), libvirt.split(), why.strip()


def read_rules(path):
    lines = pathlib.Path(path).read_text().splitlines()
    return [Rule(line) for line in lines if line.strip() and not line.startswith("#")]


def without_number(text):
    return re.sub(r"\btest_\d+_", "test_", text)


def faults_in(rules, root):
    """What is wrong with the table, line by line."""
    ids = [rule.id for rule in rules]
    for missing in [id for id in IDS if id not in ids]:
        yield f"{missing} is not there"
    sources = "\n".join(path.read_text() for path in sorted(root.glob("tests/conformance/*_test.cc")))
    known = set(f"{suite}.{name}" for suite, name in re.findall(r"TEST_F\((\w+),\s*(\w+)\)", sources))
    real = "\n".join(path.read_text() for folder in ("contract", "e2e") for path in sorted((root / "tests" / folder).glob("**/*.*"))
                     if path.suffix in (".cc", ".py"))
    real = without_number(real)
    for rule in rules:
        if rule.id not in IDS or ids.count(rule.id) != 1 or rule.kind not in KINDS:
            yield f"{rule.id}: an id that is none or is there twice, or a kind that is none"
        if not rule.tests and not rule.missing:
            yield f"{rule.id}: neither a test nor why there is none"
        yield from (f"{rule.id}: there is no test {name}" for name in rule.tests if name not in known)
        yield from (f"{rule.id}: there is no test {name}" for name in rule.libvirt
                    if not re.search(rf"\b{re.escape(name.split('.')[-1])}\b", real))
    named = {name for rule in rules for name in rule.tests}
    yield from (f"{name} proves no rule" for name in sorted(known - named))


def outcomes(folder, stages):
    """Name -> whether it passed, of every case in these stages; one that ran twice must have passed twice."""
    found = {}
    for stage in stages:
        for file in sorted(pathlib.Path(folder, stage).glob("**/*.xml")):
            for name, failure in results.cases_in(file):
                found[name] = found.get(name, True) and failure is None
    return found


def on_libvirt(name, ran):
    """Whether it passed; None when it didn't run. End-to-end tests run under their module's and class's names."""
    matches = [passed for case, passed in ran.items() if ("." + without_number(case)).endswith("." + name)]
    return all(matches) if matches else None


def judge(rule, simulated, libvirt):
    """(verdict, where it ran)."""
    here = [simulated.get(name) for name in rule.tests]
    there = [on_libvirt(name, libvirt) for name in rule.libvirt]
    where = ["simulated"] * any(ran is not None for ran in here) + ["libvirt"] * any(ran is not None for ran in there)
    if False in here or False in there:
        return "FAILED", where
    if rule.missing or not here or None in here:
        return "MISSING", where
    return "proven", where


def report(folder, rules_path):
    rules = read_rules(rules_path)
    simulated, libvirt = outcomes(folder, ["conformance"]), outcomes(folder, LIBVIRT_STAGES)
    verdicts, unproven = [], []
    for rule in rules:
        verdict, where = judge(rule, simulated, libvirt)
        verdicts.append(verdict)
        if verdict != "proven" and rule.kind == "seed":
            unproven.append(f"{rule.id} {verdict}")
        print(f"{rule.id:<6}{rule.kind:<5}{verdict:<8} {', '.join(where) or '-':<19}{rule.text}")
        outcome = [(name, simulated.get(name)) for name in rule.tests] + [(name, on_libvirt(name, libvirt)) for name in rule.libvirt]
        for name, passed in outcome:
            print(f"{'':38}{name}{ {True: '', False: ': failed', None: ': not run'}[passed] }")
        if rule.missing:
            print(f"{'':38}missing: {rule.missing}")
    proven = verdicts.count("proven")
    text = "\n".join(unproven) or None
    results.write(pathlib.Path(folder, "conformance", "rules.xml"), "conformance", [("seed_rules_are_proven", 0.0, text)])
    print(f"conformance: {len(rules)} rules, {proven} proven, {len(rules) - proven} missing")
    return 1 if unproven else 0


def main():
    if sys.argv[1] == "--check":
        root = pathlib.Path(sys.argv[2])
        faults = list(faults_in(read_rules(root / "tests/conformance/rules.txt"), root))
        print("\n".join(faults) or "rules: no faults")
        return 1 if faults else 0
    return report(sys.argv[1], sys.argv[2])


if __name__ == "__main__":
    sys.exit(main())

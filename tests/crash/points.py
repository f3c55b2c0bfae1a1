#!/usr/bin/env python3
"""The named crash points (base::CrashPoint), as the sources have them, and who walks each.

Every call must be understood and every name must have a walk, so a new point can't be forgotten. points.py [ROOT] prints each name with
its walk and fails when one has none; that is a test of its own, without a guest. points.py --self-test proves that it finds faults.
"""
import fnmatch
import pathlib
import re
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ("agent", "server", "storage")

# Walks. A name is walked by the first pattern that fits; every name of a walk is really passed there, or the walk fails.
BACKUP = "agent killed in a backup"
SAVE = "agent killed in a backup by saved state"
RESUME = "agent killed in a restore that goes on from saved memory"
DELETE = "agent killed in a restore in place only"
RESTORE = "agent killed in a restore, as a new virtual machine and in place"
CLUSTER = "agent killed while a cluster's resource is offline"
FILE_SET = "agent killed while a service of its host stands still"
FILES = "agent killed in a restore of files"
HOOKS = "agent killed around a backup's hooks"
DAEMON_BACKUP = "daemon killed in a backup"
DAEMON_JOB = "daemon killed while a job changes"
DAEMON_START = "daemon killed while it starts"
DAEMON_POLICY = "daemon killed while a policy is due"
DAEMON_CATALOG = "daemon killed while its catalog is copied, or restored"

WALKS = (
    ("agent.assigned", BACKUP),
    ("agent.intent_recorded", BACKUP),
    ("agent.before_freeze", BACKUP),
    ("agent.frozen", BACKUP),
    ("agent.snapshot_taken", BACKUP),
    ("agent.thawed", BACKUP),
    ("agent.set_made", BACKUP),
    ("agent.transfer.*", BACKUP),
    ("agent.before_commit", BACKUP),
    ("agent.committed", BACKUP),
    ("agent.before_complete", BACKUP),
    ("agent.view_closed", BACKUP),
    ("agent.save.*", SAVE),
    ("agent.resume.*", RESUME),
    ("agent.before_delete", DELETE),
    ("agent.deleted", DELETE),
    ("agent.restore.deleted", RESTORE),
    ("agent.restore.renaming", RESTORE),
    ("agent.restore.files_written", RESTORE),
    ("agent.before_define", RESTORE),
    ("agent.defined", RESTORE),
    ("agent.restore.defined", RESTORE),
    ("agent.cluster?*", CLUSTER),
    ("agent.file_set.*", FILE_SET),
    ("agent.files.*", FILES),
    ("agent.hook.*", HOOKS),
    ("repo.*", DAEMON_BACKUP),
    ("daemon.repository_committed", DAEMON_BACKUP),
    ("daemon.catalog_committed", DAEMON_BACKUP),
    ("jobs.*", DAEMON_JOB),
    ("policy.*", DAEMON_POLICY),
    ("daemon.catalog_open", DAEMON_START),
    ("daemon.jobs_recovered", DAEMON_START),
    ("daemon.catalog_rebuilt", DAEMON_START),
    ("daemon.listening", DAEMON_START),
    ("daemon.catalog_copied", DAEMON_CATALOG),
    ("restore_catalog.*", DAEMON_CATALOG),
)

# Of server/jobs: a submit doesn't go through JobEngine::Write, where the points are; progress comes too often for one death; and
# attempt-failed is what becomes of others, in their transaction and at their points.
EVENTS_WITHOUT_POINT = ("submit", "progress", "attempt-failed")

_CALL = re.compile(r"\bCrashPoint\(")
_CONSTANT = re.compile(r'\b(kCrash\w+)\s*=\s*"([^"]+)"')
_EVENT_NAMES = re.compile(r"std::string_view NameOf\(JobEvent event\)\s*\{[^{]*\{([^}]*)\}")
_EVENT_POINT = re.compile(r'fmt::format\("(jobs\.\{\}\.\w+)", NameOf\(event\)\)$')


class PointsError(RuntimeError):
    """The sources have a point that can't be told by reading them."""


def read_sources(root=REPO):
    """{path: text without comments} of everything that may pass a point."""
    texts = {}
    for room in ROOMS:
        for path in sorted((pathlib.Path(root) / room).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix in (".cc", ".h") and not name.startswith("storage/base/crash_point."):
                texts[name] = re.sub(r"//[^\n]*", "", path.read_text())
    return texts


def collect(texts):
    """Sorted names of all points that are passed. PointsError: one that can't be read, or a constant that nobody passes."""
    constants = dict(pair for text in texts.values() for pair in _CONSTANT.findall(text))
    events = _events(texts)
    names = set()
    for path, text in texts.items():
        for call in _CALL.finditer(text):
            names |= _names_of(_argument_at(text, call.end()), constants, events, path)
    idle = sorted(name for name, value in constants.items() if value not in names)
    if idle:
        raise PointsError(f"never passed: {', '.join(idle)}")
    return sorted(names)


def _argument_at(text, start):
    """What stands between the parenthesis before `start` and the one that closes it."""
    depth, end = 1, start
    while depth and end < len(text):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    return text[start:end - 1].strip()


def _events(texts):
    for text in texts.values():
        found = _EVENT_NAMES.search(text)
        if found:
            return [name for name in re.findall(r'"([^"]+)"', found.group(1)) if name not in EVENTS_WITHOUT_POINT]
    return []


def _names_of(argument, constants, events, path):
    if re.fullmatch(r'"[^"]+"', argument):
        return {argument.strip('"')}
    constant = argument.rsplit("::", 1)[-1]
    if constant in constants:
        return {constants[constant]}
    event_point = _EVENT_POINT.match(argument)
    if event_point and events:
        return {event_point.group(1).format(event) for event in events}
    raise PointsError(f"{path}: CrashPoint({argument}): write the name, or a kCrash constant, so that the walk can find it")


def walk_of(name):
    """Which walk passes the point, or None."""
    return next((walk for pattern, walk in WALKS if fnmatch.fnmatchcase(name, pattern)), None)


def names_in(*walks, root=REPO):
    """Names of the points of some walks, in the order of WALKS (that of the flow)."""
    order = [pattern for pattern, _ in WALKS]
    def place(name):
        return next(i for i, pattern in enumerate(order) if fnmatch.fnmatchcase(name, pattern))
    return sorted((name for name in collect(read_sources(root)) if walk_of(name) in walks), key=lambda name: (place(name), name))


def self_test():
    plain = {"a.cc": 'base::CrashPoint("agent.frozen"); base::CrashPoint(journal::kCrashX);', "a.h": 'kCrashX =\n  "agent.thawed";'}
    assert collect(plain) == ["agent.frozen", "agent.thawed"], collect(plain)
    jobs = {"j.cc": 'CrashPoint(fmt::format("jobs.{}.before", NameOf(event)));\n'
                    'std::string_view NameOf(JobEvent event) {\n constexpr x kNames[] = {"submit", "assign"}; }'}
    assert collect(jobs) == ["jobs.assign.before"], collect(jobs)
    for bad in ({"a.cc": "base::CrashPoint(name);"}, {"a.h": 'kCrashX = "agent.x";'}):
        try:
            collect(bad)
        except PointsError:
            continue
        raise AssertionError(f"accepted: {bad}")
    assert walk_of("agent.frozen") == BACKUP
    assert walk_of("agent.new_point") is None


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    try:
        names = collect(read_sources(pathlib.Path(sys.argv[1]) if sys.argv[1:] else REPO))
    except PointsError as error:
        print(error)
        return 1
    for name in names:
        print(f"{name:32s} {walk_of(name) or 'NOBODY WALKS IT: add it to WALKS in tests/crash/points.py'}")
    return 0 if names and all(map(walk_of, names)) else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""House rules that a compiler can't see: layers, banned calls, the words of each room, unregistered tests.

Usage: check.py [ROOT]. Prints one line for each fault and exits with 1 when there are any.
check.py --self-test proves that each rule finds what it is made to find.
"""
import pathlib
import re
import sys

# Which rooms a room may include besides itself. The longest matching key counts; docs/architecture.md draws the same.
LAYERS = {
    "storage/base": [],
    "storage/tls": ["storage/base"],
    "storage/sqlite": ["storage/base"],
    "storage/filetree": ["storage/base", "umbra/store"],
    "storage/catalog": ["storage/sqlite", "storage/filetree/subject.h", "storage/base"],
    "storage/repo": ["storage/base", "umbra/store"],
    "agent/vss": ["storage/base", "agent/hypervisor/hypervisor.h"],
    "agent/hypervisor": ["storage/base"],
    "agent/cluster": ["storage/base", "agent/hypervisor/hypervisor.h"],
    "agent/journal": ["storage/base", "agent/hypervisor/hypervisor.h"],
    "agent/guest": ["agent/vss", "agent/providers", "agent/journal", "agent/hypervisor/hypervisor.h", "storage/base"],
    "agent/writers": ["agent/vss", "agent/providers", "agent/guest", "agent/cluster", "agent/journal",
                      "agent/hypervisor/hypervisor.h", "storage/base"],
    "agent/providers": ["agent/vss", "agent/journal", "agent/hypervisor/hypervisor.h", "storage/base"],
    "agent/transfer": ["agent/hypervisor/hypervisor.h", "storage/repo/chunk.h", "storage/base", "umbra/store"],
    "agent/link": ["agent/transfer", "storage/repo/chunk.h", "storage/tls", "storage/base", "umbra/", "google/"],
    "agent/files": ["agent/hypervisor/hypervisor.h", "storage/filetree", "storage/base", "umbra/store"],
    "agent/runner": ["agent/files", "storage/filetree", "agent/vss", "agent/writers", "agent/providers", "agent/journal", "agent/transfer", "agent/link",
                     "agent/hypervisor/hypervisor.h", "storage/repo/chunk.h", "storage/base", "umbra/"],
    "agent": ["agent/", "storage/base", "storage/tls", "umbra/"],
    "server/auth": ["storage/catalog", "storage/tls", "storage/base"],
    "server/identity": ["storage/catalog", "storage/base"],
    "server/secrets": ["storage/base"],
    "server/calendar": ["storage/base"],
    "server/retention": ["storage/base"],
    "server/jobs": ["storage/catalog", "storage/base"],
    "server/dispatch": ["server/jobs", "storage/filetree", "storage/catalog", "storage/repo", "storage/base", "umbra/"],
    "server/maintenance": ["server/jobs", "storage/filetree", "storage/catalog", "storage/repo", "storage/base", "umbra/"],
    "server/metrics": ["server/jobs", "server/dispatch", "server/maintenance", "server/policies", "storage/catalog", "storage/repo", "storage/base"],
    "server/policies": ["server/calendar", "server/retention", "server/jobs", "server/maintenance", "storage/filetree", "storage/catalog",
                        "storage/repo", "storage/base"],
    "server/notifications": ["server/calendar", "server/policies", "server/jobs", "server/dispatch/agent_registry.h", "server/maintenance",
                             "storage/filetree/subject.h", "storage/catalog", "storage/repo", "storage/base"],
    "server/api": ["server/notifications", "server/jobs", "server/dispatch", "server/auth", "server/identity", "server/maintenance", "server/policies", "server/calendar",
                   "server/retention", "storage/catalog",
                   "storage/filetree", "storage/repo", "storage/tls", "storage/base", "umbra/", "google/"],
    "server/rest": ["storage/tls", "storage/base", "umbra/v1", "google/"],
    "server/cli": ["storage/base", "umbra/", "google/"],
    "server": ["server/", "storage/", "umbra/"],
}
OUR_ROOTS = ("storage/", "agent/", "server/", "umbra/", "google/")

# (pattern, why, where it is allowed, where it is looked for)
BANNED = [
    (r"\babsl::Now\(|\bstd::chrono::(system|steady)_clock\b|\bsleep_for\b|\busleep\(|\babsl::SleepFor\b|::time\(nullptr\)",
     "time comes from base::Clock", ["storage/base"], ["storage", "agent", "server"]),
    (r"\bstd::random_device\b|\brand\(\)|\bRAND_bytes\b", "randomness comes from base::Random", ["storage/base"],
     ["storage", "agent", "server"]),
    (r"boost/|\bboost::", "Boost stays behind the HTTP server", ["server/rest/http_server.cc", "server/rest/request_parser.cc"], ["storage", "agent", "server"]),
    (r"sqlite3\.h", "only storage/sqlite knows SQLite", ["storage/sqlite"], ["storage", "agent", "server"]),
    (r"\"\s*(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE)\b", "SQL lives in storage/catalog",
     ["storage/catalog", "storage/sqlite"], ["storage", "agent", "server"]),
    (r"\bgrpc::|<grpcpp/", "gRPC stays at the edges",
     ["server/api", "server/rest", "server/server.h", "server/server.cc", "server/main.cc", "agent/link", "server/cli"],
     ["storage", "agent", "server"]),
    (r"libvirt/|libnbd\.h|\bvir(Domain|Connect|Network)\w*\(|\bnbd_\w+\(", "libvirt and libnbd stay in their driver",
     ["agent/hypervisor/libvirt", "agent/main.cc"], ["storage", "agent", "server"]),
    (r"<windows\.h>|\bHRESULT\b|\bBSTR\b", "Windows stays in agent/windows", ["agent/windows"], ["storage", "agent", "server"]),
    (r"(?i)\bvss::|snapshot set|snapshotset\b", "VSS words stay in agent/vss, writers, providers",
     ["agent/vss", "agent/writers", "agent/providers", "agent/runner", "agent/main.cc"],
     ["server", "agent/hypervisor", "agent/transfer", "agent/link"]),
    (r"\bthrow\b(?!\w)", "no exception leaves a room", ["server/cli"], ["storage", "agent", "server"]),
    (r"\bTODO\b|\bFIXME\b|\bXXX\b", "open ends belong in docs/status.md", [], ["storage", "agent", "server", "proto"]),
]

FUNCTION_LINES_MAX = 90  # a function should fit a screen; past this it surely doesn't


def room_of(path):
    best = ""
    for room in LAYERS:
        if path.startswith(room + "/") and len(room) > len(best):
            best = room
    return best


def strip_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)
    return re.sub(r"//[^\n]*", "", text)


def check_layers(path, text):
    room = room_of(path)
    if not room:
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#include\s+"([^"]+)"', line)
        if not match or not match.group(1).startswith(OUR_ROOTS):
            continue
        target = match.group(1)
        allowed = [room + "/"] + LAYERS[room]
        if not any(target == a or target.startswith(a if a.endswith("/") else a + "/") or
                   (a.startswith("umbra/") and target.startswith(a)) for a in allowed):
            yield f"{path}:{number}: layer: {room} may not include {target}"


def check_banned(path, text):
    code = strip_comments(text)
    for pattern, why, allowed, looked in BANNED:
        if not any(path.startswith(place) for place in looked) or any(path.startswith(place) for place in allowed):
            continue
        for number, line in enumerate(code.splitlines(), 1):
            if re.search(pattern, line):
                yield f"{path}:{number}: banned: {line.strip()[:80]} ({why})"


def check_function_length(path, text):
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"^[A-Za-z_].*\)\s*(const)?\s*(noexcept)?\s*\{$", line) and not line.startswith(("namespace", "class", "struct")):
            start = number
        elif line == "}" and start is not None:
            if number - start > FUNCTION_LINES_MAX:
                yield f"{path}:{start}: function of {number - start} lines does not fit a screen"
            start = None


def check_includes_from_root(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#include\s+"([^"/]+)"', line)
        if match:
            yield f'{path}:{number}: include "{match.group(1)}" from the repository root'


def check_tests_registered(root):
    lists = "\n".join(p.read_text() for p in root.glob("tests/**/CMakeLists.txt"))
    for test in sorted(root.glob("tests/**/*_test.cc")):
        if test.name not in lists:
            yield f"{test.relative_to(root)}: not in any CMakeLists.txt, so it never runs"
    for test in sorted(root.glob("tests/**/*_test.cc")):
        if not test.read_text().startswith("// "):
            yield f"{test.relative_to(root)}:1: the first line says what the test proves"


def check_reasons_listed(root):
    """Every reason that the code gives is in error_reasons.proto, where people look it up."""
    listed = set(re.findall(r"ERROR_REASON_(\w+) =", (root / "proto/umbra/v1/error_reasons.proto").read_text()))
    for folder in ("storage", "agent", "server"):
        for path in sorted((root / folder).glob("**/*.cc")):
            code = strip_comments(path.read_text())
            for match in re.finditer(r'absl::StatusCode::k\w+,\s*"([A-Z][A-Z0-9_]+)"', code):
                if match.group(1) not in listed:
                    yield f"{path.relative_to(root)}: reason {match.group(1)} is not in error_reasons.proto"


FILE_CHECKS = [check_layers, check_banned, check_function_length, check_includes_from_root]


def check_file(path, text):
    for check in FILE_CHECKS:
        yield from check(path, text)


def check_tree(root):
    for folder in ("storage", "agent", "server"):
        for path in sorted((root / folder).glob("**/*")):
            if path.suffix in (".h", ".cc"):
                yield from check_file(str(path.relative_to(root)), path.read_text())
    yield from check_tests_registered(root)
    yield from check_reasons_listed(root)


SELF_TESTS = [
    ("server/jobs/x.cc", '#include "agent/vss/requester.h"\n', "layer"),
    ("agent/transfer/x.cc", '#include "storage/repo/repository.h"\n', "layer"),
    ("storage/base/x.cc", '#include "storage/sqlite/database.h"\n', "layer"),
    ("agent/runner/x.cc", "auto t = absl::Now();\n", "base::Clock"),
    ("server/api/x.cc", "std::random_device d;\n", "base::Random"),
    ("server/jobs/x.cc", 'Run("SELECT 1");\n', "SQL"),
    ("agent/runner/x.cc", "grpc::Channel c;\n", "gRPC"),
    ("agent/runner/x.cc", "virDomainCreate(d);\n", "libvirt"),
    ("server/jobs/x.cc", "vss::Writer w;\n", "VSS words"),
    ("agent/vss/x.cc", "HRESULT hr;\n", "Windows"),
    ("server/rest/x.cc", '#include "server/jobs/job_engine.h"\n', "layer"),
    ("server/rest/x.cc", "boost::asio::io_context c;\n", "Boost"),
    ("storage/repo/x.cc", "throw 1;\n", "exception"),
    ("agent/vss/x.cc", '#include "writer.h"\n', "repository root"),
    ("agent/vss/x.cc", "int F(int a) {\n" + "  a++;\n" * 120 + "}\n", "screen"),
]
CLEAN = ("agent/runner/x.cc", '#include "agent/vss/requester.h"\n#include "storage/base/clock.h"\n// absl::Now() in a comment\n')


def self_test():
    for path, text, expected in SELF_TESTS:
        found = list(check_file(path, text))
        if not any(expected in fault for fault in found):
            sys.exit(f"self-test: {path!r} with {text[:40]!r} should fail with {expected!r}, got {found}")
    if found := list(check_file(*CLEAN)):
        sys.exit(f"self-test: clean file has faults: {found}")
    print(f"self-test: {len(SELF_TESTS) + 1} cases passed")


def main():
    if "--self-test" in sys.argv:
        return self_test()
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
    faults = list(check_tree(root))
    print("\n".join(faults) if faults else "tidy: no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

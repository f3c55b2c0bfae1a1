"""The repository against restic and borg on the same disks, and against the machine's own limit; see repository_images.py for the disks.

Every tool encrypts, is durable when it says that it is done (restored images are synced by this program, for those that don't), and does the
same steps in turns: a first backup (v1), two more of the changed disk (v2, v3: everything is read), a restore of the last, compared with the disk, and a
verification with keys of everything. Before each step what it reads, the disk or all files of the tool's repository, is in the page cache (some
tools write past it) and everything written is synced. Of several rounds the
best counts, wall time and processor time (user + system, all processes of the tool) each by itself, because other load only ever makes things slower.

Ours in two ways: the library alone (tests/bench/repository), which is the agent's pipeline on the daemon's repository in one process, with zstd
level 1 for every chunk, and again with level 2, which agents use while processors are not the limit, and which costs time and saves bytes; and the
real agent and daemon, with TLS between, for a virtual machine of a private libvirt that is off and has the disk as a raw file.
"""
import contextlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "deploy/local"))
import repository_images  # noqa: E402
from first_vm import MeasureError, say, umbra_timed  # noqa: E402
from lab import Lab  # noqa: E402
from stack import Stack, number  # noqa: E402

MIB = 1024 * 1024
CORES = os.cpu_count()
DISKS = ("v1", "v2", "v3")
OURS = ("library", "library-zstd-2", "daemon")
STEPS = ("v1", "v2", "v3", "restore", "verify")
PASSWORD = "correct horse battery staple"
SPARSE_GIB = 64
INDEX_CHUNKS = 10_000_000
MARK_POINTS = 6  # that each refer to all of these, no page shared
VM_UUID = "3c0a4d1e-7f2b-4a61-9d7e-0b5f3a1c2d40"
VM = "bench-off"
LIST_VM_UUID = "3c0a4d1e-7f2b-4a61-9d7e-0b5f3a1c2d41"
LIST_VM = "bench-list"

# step -> what the library must be (times as fast as restic, as borg), and what agent and daemon together must be.
WALL_GOALS = {"v1": (2.8, 3.8, 2.0, 2.7), "v2": (8, 13, 5, None), "v3": (6.5, 12, 4, None), "restore": (4, 9, 2.5, None),
              "verify": (5.5, 16, None, None)}
CPU_GOALS = {"restic": (0.37, 0.6), "borg": (0.48, None)}  # of theirs, first backup: library, daemon
LIST_GOALS = {"library": 25, "daemon": 12}  # v3 with a list of what has changed, against restic's v3
STORED_GOALS = {"v1": 1.06, "v2": 0.30, "v3": 0.60}  # of restic's growth
LIMIT_GOALS = {"v1": 0.60, "v3": 0.70, "restore": 0.70, "verify": 0.75}
TITLES = {"v1": "first backup", "v2": "v2, full scan", "v3": "v3, full scan", "restore": "restore of v3", "verify": "verify everything"}


class Cost:
    """What one step took."""

    def __init__(self, wall, cpu, rss=0, growth=0):
        self.wall, self.cpu, self.rss, self.growth = wall, cpu, rss, growth


def best(costs):
    return Cost(min(c.wall for c in costs), min(c.cpu for c in costs), max(c.rss for c in costs), min(c.growth for c in costs))


def measured(command, env=None, cwd=None, then=None):
    """Runs a program, and `then` within the same time; its cost and what it printed."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.monotonic()
    child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env={**os.environ, **(env or {})}, cwd=cwd)
    out = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise MeasureError(f"{command[0]}: {out.strip()[-500:]}")
    if then:
        then()
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    own = after.ru_stime - before.ru_stime if then else 0
    return Cost(wall, used.ru_utime + used.ru_stime + own, used.ru_maxrss * 1024), out


def size_of(folder):
    """Bytes of all files below it."""
    return sum(path.stat().st_size for path in files_of(folder))


def sync_file(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def settle(*files):
    """Nothing waits to be written, and what is read next lies in the page cache."""
    os.sync()
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.read(4 * MIB):
                pass


def files_of(folder):
    """All files below it, sorted."""
    return sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())


def changed(before, now, granularity=65536):
    """Stretches (offset, length) in which two images differ, as a dirty bitmap would tell them."""
    stretches = []
    pairs = zip(repository_images.blocks_of(before, granularity), repository_images.blocks_of(now, granularity))
    for number, (a, b) in enumerate(pairs):
        if a == b:
            continue
        if stretches and sum(stretches[-1]) == number * granularity:
            stretches[-1] = (stretches[-1][0], stretches[-1][1] + len(b))
        else:
            stretches.append((number * granularity, len(b)))
    return stretches


def same(a, b):
    return subprocess.run(["cmp", "-s", str(a), str(b)], check=False).returncode == 0


class Tool:
    """A backup program with a repository of its own below `folder`. Subclasses say how each step is done."""

    name = ""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.repository = self.folder / "repository"

    def prepare(self):
        """Makes an empty repository."""

    def backup(self, image):
        raise NotImplementedError

    def restore(self, target):
        raise NotImplementedError

    def verify(self):
        raise NotImplementedError

    def increment(self, images):
        """v3 with a list of what has changed since v2; None for what can't."""

    def after(self):
        """What else is measured on the finished repository."""

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Library(Tool):
    name = "library"

    def __init__(self, folder, build, reads=None, level=1):
        super().__init__(folder)
        self.level = level
        self.program = pathlib.Path(build) / "tests/bench/repository/repository_bench"
        self.reads = reads if reads is not None else []

    def increment(self, images):
        # On a copy, because the full scan of v3 must find the repository without its chunks.
        copy, changes = self.folder / "increment", self.folder / "changes"
        changes.write_text("".join(f"{offset} {length}\n" for offset, length in changed(images / "v2.img", images / "v3.img")))
        shutil.copytree(self.repository, copy)
        settle(images / "v3.img")
        cost = measured([self.program, "increment", copy, images / "v3.img", changes])[0]
        shutil.rmtree(copy)
        return cost

    def after(self):
        _, out = measured([self.program, "random", self.repository])
        self.reads += map(json.loads, out.splitlines())

    def backup(self, image):
        return measured([self.program, "backup", self.repository, image, self.level])[0]

    def restore(self, target):
        return measured([self.program, "restore", self.repository, target])[0]

    def verify(self):
        return measured([self.program, "verify", self.repository])[0]


class Restic(Tool):
    name = "restic"

    def _run(self, *args, then=None):
        command = ["restic", "-q", "--repo", self.repository, "--cache-dir", self.folder / "cache", *args]
        return measured(command, env={"RESTIC_PASSWORD": PASSWORD}, then=then)[0]

    def prepare(self):
        self._run("init")

    def backup(self, image):
        # Under one name, as a machine's disk has.
        disk = self.folder / "source/vda.img"
        disk.parent.mkdir(exist_ok=True)
        disk.unlink(missing_ok=True)
        os.link(image, disk)
        return self._run("backup", disk)

    def restore(self, target):
        out = self.folder / "restored"
        path = out / str(self.folder / "source/vda.img").lstrip("/")
        cost = self._run("restore", "latest", "--target", out, then=lambda: sync_file(path))
        path.rename(target)
        return cost

    def verify(self):
        return self._run("check", "--read-data")


class Borg(Tool):
    name = "borg"

    def _run(self, *args, then=None, cwd=None):
        env = {"BORG_PASSPHRASE": PASSWORD, "BORG_BASE_DIR": str(self.folder / "base"), "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        return measured(["borg", *args], env=env, cwd=cwd, then=then)[0]

    def prepare(self):
        self._run("init", "--encryption", "repokey-blake2", self.repository)
        self.number = 0

    def backup(self, image):
        self.number += 1
        return self._run("create", "--compression", "zstd,3", f"{self.repository}::p{self.number}", image)

    def restore(self, target):
        out = self.folder / "restored"
        out.mkdir()
        cost = self._run("extract", f"{self.repository}::p{self.number}", cwd=out,
                         then=lambda: [sync_file(path) for path in out.rglob("*") if path.is_file()])
        next(path for path in out.rglob("*") if path.is_file()).rename(target)
        return cost

    def verify(self):
        return self._run("check", "--verify-data", self.repository)


class Daemons(Tool):
    """umbrad and umbra-agent, and a machine that is off, in a lab that all rounds share."""

    name = "daemon"

    def __init__(self, folder, site, number):
        super().__init__(folder)
        self.site = site
        self.id = f"r{number}"
        self.repository = site.repository(number)

    def _cost(self, *args):
        before, (took, job) = self.site.cpu_seconds(), umbra_timed(self.site.stack, *args)
        return Cost(took, self.site.cpu_seconds() - before), job

    def backup(self, image):
        self.site.show_disk(image)
        return self._cost("backup", "run", VM, "--repository", self.id)[0]

    def increment(self, images):
        # A repository of its own, because the full scan of v3 must find the other without its chunks.
        listed = f"l{self.id}"
        self.site.track(images, listed)
        settle(self.site.list_disk)
        cost, job = self._cost("backup", "run", LIST_VM, "--repository", listed)
        disk = job["progress"]["disks"][0]
        if disk.get("readMode") != "READ_MODE_INCREMENTAL":
            raise MeasureError(f"not an increment: {disk}")
        return cost

    def restore(self, target):
        points = [p for p in self.site.stack.points(VM) if p.get("repository", "").endswith(self.id)]
        newest = max(points, key=lambda p: p["createTime"])["name"]
        name = f"restored-{self.id}"
        cost, _ = self._cost("restore", "run", newest, "--name", name, "--target-folder", self.folder / "restored")
        pathlib.Path(self.site.lab.disk_paths(name)["vda"]).rename(target)
        self.site.lab.virsh("undefine", name)
        return cost

    def verify(self):
        return self._cost("repository", "verify", self.id)[0]


class Site:
    """What the rounds of Daemons share."""

    def __init__(self, folder, build, cache, rounds):
        self.folder = pathlib.Path(folder)
        self.lab = Lab(self.folder / "lab", cache)
        self.stack = Stack(self.folder / "u", build, self.lab.uri)
        self.rounds = rounds
        self.disk = self.folder / "disk/vda.img"
        self.list_disk = self.folder / "disk/list.qcow2"

    def repository(self, number, kind="r"):
        return self.folder / f"daemon-{kind}{number}"

    def start(self, image):
        self.disk.parent.mkdir(parents=True)
        self.lab.start()
        self.show_disk(image)
        self.define(VM, VM_UUID, self.disk, "raw")
        self.stack.start_daemon(*[f"--repository={kind}{i}={self.repository(i, kind)}" for kind in ("r", "lr") for i in range(self.rounds)])
        self.stack.start_agent()
        self.stack.wait_vm(VM)

    def define(self, name, uuid, disk, driver):
        xml = self.folder / "domain.xml"
        xml.write_text(f"<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
                       f"<os><type arch='x86_64'>hvm</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='{driver}'/>"
                       f"<source file='{disk}'/><target dev='vda' bus='virtio'/></disk></devices></domain>")
        self.lab.virsh("define", xml)

    def track(self, images, repository):
        """The other machine's disk is v2, backed up while the machine runs (it has nothing to boot), and then becomes v3 while it is off: what
        was written in between is in the bitmap that the backup began."""
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", images / "v2.img", self.list_disk], check=True)
        self.define(LIST_VM, LIST_VM_UUID, self.list_disk, "qcow2")
        self.lab.virsh("start", LIST_VM)
        self.stack.wait_vm(LIST_VM, lambda vm: vm.get("state") == "VIRTUAL_MACHINE_STATE_RUNNING")
        umbra_timed(self.stack, "backup", "run", LIST_VM, "--repository", repository, "--no-saved-state", "--allow-crash-consistent")
        self.lab.virsh("destroy", LIST_VM)
        pieces = self.folder / "pieces"
        pieces.mkdir()
        commands = []
        with open(images / "v3.img", "rb") as after:
            for offset, length in changed(images / "v2.img", images / "v3.img"):
                after.seek(offset)
                piece = pieces / str(offset)
                piece.write_bytes(after.read(length))
                commands.append(f"write -q -s {piece} {offset} {length}\n")
        subprocess.run(["qemu-io", "-f", "qcow2", self.list_disk], input="".join(commands), text=True, stdout=subprocess.DEVNULL, check=True)
        shutil.rmtree(pieces)
        self.stack.wait_vm(LIST_VM, lambda vm: vm.get("state") == "VIRTUAL_MACHINE_STATE_OFF")

    def show_disk(self, image):
        """The machine's disk is this image from now on."""
        self.disk.unlink(missing_ok=True)
        os.link(image, self.disk)

    def memory_figures(self, sparse):
        """The most that agent and daemon ever had resident: in all rounds, and then with a disk that is large and nearly all hole."""
        daemons = (("agent", self.stack.agent), ("daemon", self.stack.daemon))
        for name, daemon in daemons:
            yield figure(f"daemon/{name}-memory", daemon.peak_rss_bytes() / MIB, "MiB", goal=128, at_least=False)
        self.show_disk(sparse)
        size = os.path.getsize(sparse)
        self.stack.wait_vm(VM, lambda vm: number(vm["disks"][0], "capacityBytes") == size)
        took, _ = umbra_timed(self.stack, "backup", "run", VM, "--repository", "r0")
        for name, daemon in daemons:
            yield figure(f"daemon/{name}-memory-{SPARSE_GIB}-gib", daemon.peak_rss_bytes() / MIB, "MiB", f"backup in {took:.1f} s", goal=128,
                         at_least=False)

    def cpu_seconds(self):
        """Of both programs and of the children that they have waited for (qemu-nbd, which reads the disk)."""
        return sum(cpu_of(daemon.pid()) for daemon in (self.stack.agent, self.stack.daemon))

    def stop(self):
        self.stack.stop()
        self.lab.stop()


def cpu_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def one_round(tool, images):
    """Every step of one tool: step -> Cost."""
    costs = {}
    tool.prepare()
    for disk in DISKS:
        if disk == "v3" and (cost := tool.increment(images)):
            costs["v3-list"] = cost
        before = size_of(tool.repository)
        settle(images / f"{disk}.img")
        costs[disk] = tool.backup(images / f"{disk}.img")
        costs[disk].growth = size_of(tool.repository) - before
    target = tool.folder / "restored.img"
    settle(*files_of(tool.repository))
    costs["restore"] = tool.restore(target)
    if not same(target, images / "v3.img"):
        raise MeasureError(f"{tool.name} restored another disk than it backed up")
    target.unlink()
    settle(*files_of(tool.repository))
    costs["verify"] = tool.verify()
    tool.after()
    return costs


def figure(name, value, unit, against="", ratio=None, goal=None, at_least=True):
    """`goal` is for the ratio when there is one, else for the value."""
    number = value if ratio is None else ratio
    return {"name": f"repository/{name}", "value": round(value, 3), "unit": unit, "against": against,
            "ratio": None if ratio is None else round(ratio, 3), "goal": None if goal is None else f"{'>=' if at_least else '<='} {goal}",
            "ok": None if goal is None else (number >= goal if at_least else number <= goal)}


class Measurement:
    """Rounds of all tools in turns, and the figures made of them."""

    def __init__(self, folder, build, images, rounds, site):
        self.folder, self.build, self.images, self.rounds, self.site = folder, build, images, rounds, site
        self.costs = {}  # tool -> step -> Cost
        self.reads = []  # of all rounds, as repository_bench prints them

    def run(self, peers):
        rounds = {}
        for number in range(self.rounds):
            for name, make in self._tools(number, peers).items():
                say(f"{name}, round {number + 1} of {self.rounds}")
                tool = make(self.folder / f"{name}-{number}")
                try:
                    costs = one_round(tool, self.images)
                finally:
                    tool.close()
                say("  " + ", ".join(f"{step} {c.wall:.2f} s ({c.cpu:.2f})" for step, c in costs.items()))
                rounds.setdefault(name, []).append(costs)
        self.costs = {name: {step: best([costs[step] for costs in all_costs]) for step in all_costs[0]} for name, all_costs in rounds.items()}

    def _tools(self, number, peers):
        tools = {}
        if peers & {"library", "limits", "memory"}:
            tools["library"] = lambda folder: Library(folder, self.build, self.reads)
        if "level-2" in peers:
            tools["library-zstd-2"] = lambda folder: Library(folder, self.build, level=2)
        if self.site is not None:
            tools["daemon"] = lambda folder: Daemons(folder, self.site, number)
        if "restic" in peers:
            tools["restic"] = Restic
        if "borg" in peers:
            tools["borg"] = Borg
        return tools

    def figures(self):
        for name in (*OURS, "restic", "borg"):
            if name in self.costs:
                yield from self._figures_of(name)

    def _figures_of(self, name):
        for step, cost in self.costs[name].items():
            yield figure(f"{name}/{step}", cost.wall, "s", f"{cost.cpu:.2f} s of processor time")
        if name not in OURS:
            return
        ours = self.costs[name]
        if name == "library":
            yield from self._read_figures()
        for peer in ("restic", "borg"):
            if peer not in self.costs:
                continue
            theirs = self.costs[peer]
            at = (2 if name == "daemon" else 0) + (0 if peer == "restic" else 1)
            for step in STEPS:
                yield figure(f"{name}/{step}-speed-{peer}", ours[step].wall, "s", f"{peer} {theirs[step].wall:.2f} s",
                             theirs[step].wall / ours[step].wall, WALL_GOALS[step][at])
            if "v3-list" in ours and peer == "restic":
                yield figure(f"{name}/v3-list-speed-{peer}", ours["v3-list"].wall, "s", f"{peer} {theirs['v3'].wall:.2f} s",
                             theirs["v3"].wall / ours["v3-list"].wall, LIST_GOALS.get(name, LIST_GOALS["library"]))
            yield figure(f"{name}/v1-cpu-{peer}", ours["v1"].cpu, "s", f"{peer} {theirs['v1'].cpu:.2f} s", ours["v1"].cpu / theirs["v1"].cpu,
                         CPU_GOALS[peer][1 if name == "daemon" else 0], at_least=False)
        if "restic" in self.costs:
            for step in DISKS:
                theirs = self.costs["restic"][step].growth
                yield figure(f"{name}/{step}-stored", ours[step].growth / MIB, "MiB", f"restic {theirs / MIB:.0f} MiB", ours[step].growth / theirs,
                             STORED_GOALS[step], at_least=False)

    def _read_figures(self):
        for reads, goal in (("first byte", None), ("from page cache", 0.2), ("from disk", None)):
            found = [one for one in self.reads if one["reads"] == reads]
            middle = min(one["p50_us"] for one in found) / 1000
            worst = min(one.get("p99_us", 0) for one in found) / 1000
            yield figure(f"library/read-4k-{reads.replace(' ', '-')}", middle, "ms", f"99 of 100: {worst:.2f} ms" if worst else "", goal=goal,
                         at_least=False)

    def limit_figures(self):
        """What the machine could do at best, with every step by itself and nothing between, on all cores."""
        program = self.build / "tests/bench/repository/repository_bench"
        settle(*(self.images / f"{disk}.img" for disk in DISKS))  # the steps before emptied the page cache
        _, out = measured([program, "limits", self.folder, *(self.images / f"{disk}.img" for disk in DISKS)])
        alone = dict(zip(DISKS, map(json.loads, out.splitlines())))
        steps = ("read", "zero_test", "hash", "zstd", "gcm", "write")
        limits = {disk: sum(alone[disk][step] for step in steps) / CORES for disk in ("v1", "v3")}
        # A restore of v3 decodes all its data: what its chunks cost where they were new, by their share in all of it.
        whole = {step: sum(alone[disk][step] for disk in DISKS) for step in ("gcm", "unzstd")}
        unique = sum(alone[disk]["new_mib"] for disk in DISKS)
        share = alone["v3"]["data_mib"] / unique
        read_rate = alone["v1"]["read"] / (os.path.getsize(self.images / "v1.img") / MIB)
        hash_rate = alone["v1"]["hash"] / alone["v1"]["data_mib"]
        stored = sum(alone[disk]["stored_mib"] for disk in DISKS)
        limits["restore"] = (share * (whole["gcm"] + whole["unzstd"] + read_rate * stored) + hash_rate * alone["v3"]["data_mib"]
                             + alone["v3"]["write_disk"]) / CORES
        limits["verify"] = (whole["gcm"] + whole["unzstd"] + hash_rate * unique + read_rate * stored) / CORES
        yield figure("machine/zstd", alone["v1"]["new_mib"] / alone["v1"]["zstd"], "MiB/s", "one core, the chunks of v1")
        yield figure("machine/hash", 1 / hash_rate, "MiB/s", "one core")
        yield figure("machine/gcm", alone["v1"]["stored_mib"] / alone["v1"]["gcm"], "MiB/s", "one core")
        yield figure("machine/write", alone["v1"]["stored_mib"] / alone["v1"]["write"], "MiB/s", "processor time of one core")
        for name in ("library", "daemon"):  # the limit is that of this level
            for step, limit in limits.items():
                if name in self.costs:
                    wall = self.costs[name][step].wall
                    yield figure(f"{name}/{step}-of-limit", wall, "s", f"limit {limit:.2f} s", limit / wall,
                                 LIMIT_GOALS[step] if name == "library" else None)


def memory_figures(measurement):
    """Peak resident memory of the steps so far, and with a disk that is large and nearly all hole."""
    costs = measurement.costs["library"]
    yield figure("library/memory", max(costs[step].rss for step in STEPS) / MIB, "MiB", goal=128, at_least=False)
    sparse = measurement.folder / "sparse.img"
    shutil.copyfile(measurement.images / "v1.img", sparse)
    os.truncate(sparse, SPARSE_GIB * 1024 * MIB)
    tool = Library(measurement.folder / "sparse", measurement.build)
    cost = tool.backup(sparse)
    yield figure(f"library/memory-{SPARSE_GIB}-gib", cost.rss / MIB, "MiB", f"backup in {cost.wall:.1f} s", goal=128, at_least=False)
    tool.close()
    if measurement.site is not None:
        yield from measurement.site.memory_figures(sparse)
    sparse.unlink()


def index_figures(folder, build, chunks):
    program = build / "tests/bench/repository/repository_bench"
    _, out = measured([program, "index", folder / "index", chunks])
    found = json.loads(out)
    yield figure("index/resident", found["resident_bytes_per_tib"] / MIB, "MiB per TiB", f"{chunks} chunks: {found['resident_bytes'] / MIB:.1f} MiB",
                 goal=24, at_least=False)
    yield figure("index/known", found["known_per_second"], "lookups/s", "one thread, page cache warm")
    yield figure("index/unknown", found["unknown_per_second"], "lookups/s", "one thread")
    yield figure("index/open", found["load_seconds"], "s", f"{chunks} chunks")
    shutil.rmtree(folder / "index")


def mark_figures(folder, build, chunks):
    program = build / "tests/bench/repository/repository_bench"
    _, out = measured([program, "mark", folder / "mark", chunks, MARK_POINTS])
    found = json.loads(out)
    yield figure("prune/mark", found["references_per_second"] / 1e6, "M references/s",
                 f"{found['references']} in {found['mark_seconds']:.2f} s, {chunks} chunks, page cache warm", goal=50)
    yield figure("prune/mark-from-disk", found["references"] / found["cold_seconds"] / 1e6, "M references/s", f"{found['cold_seconds']:.2f} s")
    yield figure("prune/number", found["number_seconds"], "s", f"{chunks} chunks get their ordinals: {found['ordinals_bytes'] / MIB:.1f} MiB")
    shutil.rmtree(folder / "mark")


# What --only takes: parts of the whole.
PARTS = ("library", "level-2", "daemon", "restic", "borg", "limits", "memory", "index", "mark")


def run(folder, build, cache, only=(), quick=False, rounds=3):
    """Yields the figures, one dictionary each. `quick`: small disks and one round, to see that everything works."""
    parts = set(only) or set(PARTS)
    folder, build = pathlib.Path(folder) / "repository", pathlib.Path(build)
    folder.mkdir()
    rounds = 1 if quick else rounds
    with contextlib.ExitStack() as cleanup:
        images = linkable(repository_images.make(cache, 256 if quick else 2048), folder)
        site = None
        if "daemon" in parts:
            site = Site(folder, build, cache, rounds)
            cleanup.callback(site.stop)
            site.start(images / "v1.img")
        measurement = Measurement(folder, build, images, rounds, site)
        if parts & {"library", "level-2", "daemon", "restic", "borg", "limits", "memory"}:
            measurement.run(parts)
            yield from measurement.figures()
        if "limits" in parts:
            yield from measurement.limit_figures()
        if "memory" in parts and not quick:
            yield from memory_figures(measurement)
        if "index" in parts:
            yield from index_figures(folder, build, INDEX_CHUNKS // (100 if quick else 1))
        if "mark" in parts:
            yield from mark_figures(folder, build, INDEX_CHUNKS // (100 if quick else 1))


def linkable(images, folder):
    """The images where they can be linked from `folder`: as they are, or, on another file system, copied."""
    if os.stat(images).st_dev == os.stat(folder).st_dev:
        return images
    shutil.copytree(images, folder / "images")
    return folder / "images"

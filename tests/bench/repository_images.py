"""repository_images.py --cache CACHE [--mib SIZE] [--seed N]: makes the disks that the repository is measured with; prints what they are as JSON.

v1  an ext4 file system of SIZE MiB (2048): files of installed packages from /usr, a tenth random bytes, a database and a log; about a quarter
    of it was never written and is zero
v2  v1 with 3 % of its 4 KiB blocks changed in place, scattered, in extents of 4 to 64 KiB: the worst case for large chunks
v3  v1 after an ordinary day: mounted, files deleted and added, pages of the database rewritten in clusters, the log appended
v4  a second machine: the files of v1 without the random ones, in a new file system, in another order

Made once and kept in CACHE/repository-SIZE-SEED. The same packages, size and seed give the same files at the same places (v3 is written
through a mounted file system, whose journal and times differ from day to day). Needs root: v3 is mounted.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

MIB = 1024 * 1024
BLOCK = 4096
PAGE = 8192
UUIDS = {"v1": "6b1f0a52-0d4c-4c0e-9d1e-5a3c11e0a001", "v4": "6b1f0a52-0d4c-4c0e-9d1e-5a3c11e0a004"}
# Times inside the file systems are all this one.
FAKE_TIME = "1700000000"
# Shares of the whole disk.
RANDOM_SHARE = 0.10
DATABASE_SHARE = 0.03
LOG_SHARE = 0.004
FILES_SHARE = 0.57
CHANGED_SHARE = 0.03  # of v2's blocks
# What a day does, for a disk of 2 GiB; less on a smaller one.
DAY_DELETED, DAY_ADDED, DAY_PAGES, DAY_LOG, DAY_COMMITS = 30 * MIB, 36 * MIB, 900, 2 * MIB, 12
WORDS = "error warning session opened closed connection from user backup mail queue removed delivered status ok timeout retry disk".split()


class ImageError(RuntimeError):
    """The images can't be made on this machine."""


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more)
    if done.returncode != 0:
        raise ImageError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def package_files(rng):
    """Regular files below /usr of the installed packages, whole packages in an order that the seed decides: (path, size)."""
    lists = sorted(pathlib.Path("/var/lib/dpkg/info").glob("*.list"))
    rng.shuffle(lists)
    for package in lists:
        for line in package.read_text().splitlines():
            path = pathlib.Path(line)
            if not line.startswith("/usr/") or line.startswith("/usr/lib/debug/") or path.is_symlink() or not path.is_file():
                continue
            size = path.stat().st_size
            if 0 < size < 200 * MIB:
                yield path, size


def take(files, wanted_bytes, what):
    """The first files of `files` whose sizes sum up to about `wanted_bytes`."""
    taken, total = [], 0
    while total < wanted_bytes:
        try:
            path, size = next(files)
        except StopIteration:
            raise ImageError(f"the packages of this machine have not enough files below /usr for {what}") from None
        if size <= wanted_bytes - total + MIB:
            taken.append(path)
            total += size
    return taken


def text_line(rng, number):
    words = " ".join(rng.choice(WORDS) for _ in range(10))
    return f"2026-11-{1 + number % 28:02} {number % 24:02}:{number % 60:02} host{rng.randrange(40)} {words} id={rng.getrandbits(32):08x}\n".encode()


def text(rng, size):
    out, number = bytearray(), 0
    while len(out) < size:
        out += text_line(rng, number)
        number += 1
    return bytes(out[:size])


def database_page(rng):
    """Rows of text and numbers, with free space at the end, as pages of databases are."""
    rows = text(rng, rng.randrange(PAGE // 2, PAGE * 7 // 8))
    return rng.randbytes(64) + rows + bytes(PAGE - 64 - len(rows))


def place(source, target):
    """The file under another name: linked where that is possible, else copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def make_ext4(image, mib, uuid, tree):
    with open(image, "wb") as file:
        file.truncate(mib * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", BLOCK, "-U", uuid, "-E", f"hash_seed={uuid},lazy_itable_init=0", "-O", "^metadata_csum_seed",
        "-d", tree, image, env={**os.environ, "E2FSPROGS_FAKE_TIME": FAKE_TIME})


class Maker:
    """Makes the images of one size and seed in `folder`."""

    def __init__(self, folder, mib, seed):
        self.folder, self.mib, self.seed = folder, mib, seed
        self.files = package_files(random.Random(f"{seed} packages"))
        self.share = mib / 2048

    def rng(self, what):
        return random.Random(f"{self.seed} {what}")

    def image(self, name):
        return self.folder / f"{name}.img"

    def make(self):
        tree = pathlib.Path(tempfile.mkdtemp(prefix="tree.", dir=self.folder))
        try:
            chosen = self.make_v1(tree / "v1")
            self.make_v2()
            self.make_v3()
            self.make_v4(tree / "v4", chosen)
        finally:
            shutil.rmtree(tree)

    def make_v1(self, tree):
        chosen = take(self.files, int(self.mib * MIB * FILES_SHARE), "v1")
        for path in chosen:
            place(path, tree / path.relative_to("/"))
        rng = self.rng("contents")
        (tree / "srv").mkdir()
        for number in range(16):
            (tree / f"srv/random{number}").write_bytes(rng.randbytes(int(self.mib * MIB * RANDOM_SHARE / 16)))
        with open(tree / "srv/database", "wb") as file:
            for _ in range(int(self.mib * MIB * DATABASE_SHARE) // PAGE):
                file.write(database_page(rng))
        (tree / "srv/log").write_bytes(text(rng, int(self.mib * MIB * LOG_SHARE)))
        make_ext4(self.image("v1"), self.mib, UUIDS["v1"], tree)
        return chosen

    def make_v2(self):
        shutil.copyfile(self.image("v1"), self.image("v2"))
        rng, blocks = self.rng("scattered"), self.mib * MIB // BLOCK
        changed = set()
        with open(self.image("v2"), "r+b") as file:
            while len(changed) < blocks * CHANGED_SHARE:
                count = rng.randrange(1, 17)
                first = rng.randrange(blocks - count)
                file.seek(first * BLOCK)
                file.write(rng.randbytes(count * BLOCK) if rng.random() < 0.5 else text(rng, count * BLOCK))
                changed.update(range(first, first + count))

    def make_v3(self):
        shutil.copyfile(self.image("v1"), self.image("v3"))
        root = pathlib.Path(tempfile.mkdtemp(prefix="mount.", dir=self.folder))
        run("mount", "-o", "loop,noatime", self.image("v3"), root)
        try:
            self.live_a_day(root)
        finally:
            run("umount", root)
            root.rmdir()

    def live_a_day(self, root):
        rng = self.rng("day")
        present = sorted(path for path in (root / "usr").rglob("*") if path.is_file())
        rng.shuffle(present)
        doomed = list(take(((path, path.stat().st_size) for path in present), int(DAY_DELETED * self.share), "deleting"))
        added = take(self.files, int(DAY_ADDED * self.share), "v3")
        pages = int(DAY_PAGES * self.share)
        for hour in range(DAY_COMMITS):
            for path in doomed[hour::DAY_COMMITS]:
                path.unlink()
            for path in added[hour::DAY_COMMITS]:
                target = root / "srv/new" / path.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            self.rewrite_pages(rng, root / "srv/database", pages // DAY_COMMITS)
            with open(root / "srv/log", "ab") as log:
                log.write(text(rng, int(DAY_LOG * self.share) // DAY_COMMITS))
            os.sync()

    def rewrite_pages(self, rng, path, count):
        """In a few clusters: hot rows lie together."""
        total = path.stat().st_size // PAGE
        with open(path, "r+b") as file:
            for _ in range(max(1, count // 25)):
                start = rng.randrange(max(1, total - 64))
                for page in sorted(rng.sample(range(start, min(start + 64, total)), 25)):
                    file.seek(page * PAGE)
                    file.write(database_page(rng))

    def make_v4(self, tree, chosen):
        rng = self.rng("second machine")
        names = list(range(len(chosen)))
        rng.shuffle(names)
        for path, name in zip(chosen, names):
            place(path, tree / f"d{name % 251:03}/{name:06}")
        make_ext4(self.image("v4"), self.mib, UUIDS["v4"], tree)


def blocks_of(path, size):
    with open(path, "rb") as file:
        while block := file.read(size):
            yield block


def describe(folder):
    """What the images are: shares of zero blocks, and of what differs from v1."""
    zero = bytes(BLOCK)
    facts = {name: {"zero_4k": round(sum(block == zero for block in blocks_of(folder / f"{name}.img", BLOCK))
                                     / (os.path.getsize(folder / f"{name}.img") / BLOCK), 4)} for name in ("v1", "v2", "v3", "v4")}
    for name in ("v2", "v3"):
        for size in (4096, 65536, 131072, MIB, 4 * MIB):
            pairs = zip(blocks_of(folder / "v1.img", size), blocks_of(folder / f"{name}.img", size))
            changed = [a != b for a, b in pairs]
            facts[name][f"changed_{size // 1024}k"] = round(sum(changed) / len(changed), 4)
    return facts


def make(cache, mib=2048, seed=1):
    """The folder that holds v1.img to v4.img and facts.json."""
    final = pathlib.Path(cache) / f"repository-{mib}-{seed}"
    if (final / "facts.json").exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="repository.", dir=final.parent))
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        Maker(folder, mib, seed).make()
        (folder / "facts.json").write_text(json.dumps(describe(folder), indent=1) + "\n")
        shutil.rmtree(final, ignore_errors=True)  # half-made by a program before this one
        folder.rename(final)
    return final


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", required=True)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print((make(args.cache, args.mib, args.seed) / "facts.json").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())

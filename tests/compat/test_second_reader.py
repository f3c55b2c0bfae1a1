#!/usr/bin/python3
"""Proves that docs/formats/repository.md is true: a reader written from the page alone opens what the product wrote, with every
kind of key, restores every disk byte for byte, and refuses what was changed.

Usage: test_second_reader.py MAKE_REPOSITORY
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

READER = pathlib.Path(__file__).with_name("read_repository.py")


def read(*arguments):
    return subprocess.run(["/usr/bin/python3", READER, *map(str, arguments)], capture_output=True, text=True)


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def restore_all(folder, name, key, options):
    listed = read(folder / name, key, "list", *options)
    check(listed.returncode == 0, f"{name} {key}: {listed.stderr}")
    lines = listed.stdout.split("\n")[:-1]
    check(len(lines) == 9, f"three points of three disks, not {lines}")
    for line in lines:
        point, disk, capacity = line.split()
        wanted = (folder / f"{name}.{point}.{disk}.raw").read_bytes()
        check(len(wanted) == int(capacity), f"capacity of {line}")
        target = folder / "restored"
        done = read(folder / name, key, "restore", point, disk, target, *options)
        check(done.returncode == 0 and target.read_bytes() == wanted, f"{name} {line}: {done.stderr}")


def reads_the_catalog(folder, name, key):
    done = read(folder / name, key, "catalog", folder / "restored", "--no-ids")
    check(done.returncode == 0 and (folder / "restored").read_bytes() == (folder / f"{name}.catalog").read_bytes(), f"{name}: {done.stderr}")
    broken = folder / "broken"
    shutil.copytree(folder / name, broken)
    for at, why in ((20, "no copy of ours"), (40, "not made with these keys"), (200, "the tag is wrong")):
        for path in broken.glob("catalogs/*.catalog"):
            flip(path, at)
            done = read(broken, key, "catalog", folder / "restored", "--no-ids")
            check(done.returncode == 1 and why in done.stderr, f"'{why}' expected, not: {done.stderr}")
            flip(path, at)
    shutil.rmtree(broken)


def refuses(folder, name, key, why):
    listed = read(folder / name, key, "list", "--no-ids")
    check(listed.returncode == 1 and why in listed.stderr, f"'{why}' expected of {name}, not: {listed.stdout}{listed.stderr}")


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 16
    path.write_bytes(data)


def main(maker):
    with tempfile.TemporaryDirectory(prefix="umbra-compat-") as temporary:
        folder = pathlib.Path(temporary)
        subprocess.run([maker, folder], check=True, stderr=subprocess.DEVNULL)
        restore_all(folder, "hmac", f"key-file:{folder}/hmac.key", [])
        for name in ("blake3", "hmac"):
            for kind in ("recovery", "passphrase", "key"):
                key = {"recovery": "recovery-key", "passphrase": "passphrase", "key": "key-file"}[kind]
                restore_all(folder, name, f"{key}:{folder}/{name}.{kind}", ["--no-ids"])
            refuses(folder, name, f"recovery-key:{folder}/{name}.removed", "the key is wrong")
            reads_the_catalog(folder, name, f"key-file:{folder}/{name}.key")
        # Ids by BLAKE3, of one small disk: a second of Python for each MiB.
        key = f"key-file:{folder}/blake3.key"
        point = sorted((folder / "blake3" / "points").iterdir())[0].stem
        done = read(folder / "blake3", key, "restore", point, "vdb", folder / "restored")
        check(done.returncode == 0, done.stderr)
        check((folder / "restored").read_bytes() == (folder / f"blake3.{point}.vdb.raw").read_bytes(), "with ids")
        # What was changed is refused, by the tags alone.
        for pattern, at, why in (("packs/*/*.pack", 50, "not made with these keys"), ("packs/*/*.pack", 100, "not made with these keys"),
                                 ("points/*.point", 20, "another repository"), ("points/*.point", 40, "not made with these keys"),
                                 ("points/*.point", 120, "the tag is wrong"), ("keys/*.slot", 120, "the slot was changed"), ("keys/*.ring", 36, "key ring: the tag is wrong")):
            broken = folder / "broken"
            shutil.copytree(folder / "blake3", broken)
            for path in broken.glob(pattern):
                flip(path, at)
            refuses(folder, "broken", key, why)
            shutil.rmtree(broken)
    print("compat: a reader written from the page restores every disk")


if __name__ == "__main__":
    main(sys.argv[1])

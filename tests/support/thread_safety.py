"""thread_safety.py BUILD JOBS: clang's thread-safety analysis of every source of ours, without making code.

BUILD is configured by the preset clang-thread-safety. Generated files are made first; then each command of its compilation
database that compiles a file of ours runs. Prints what clang says; status 1 when it says anything.
"""
import concurrent.futures
import json
import pathlib
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ("storage/", "agent/", "server/")


def generated_files(build):
    """Targets of the build that a command of the project's own makes: protos, embedded files."""
    lines = subprocess.run(["ninja", "-C", build, "-t", "targets", "all"], capture_output=True, text=True, check=True).stdout.splitlines()
    names = [line.rsplit(": ", 1) for line in lines if line.endswith(": CUSTOM_COMMAND")]
    return [name for name, _ in names if pathlib.Path(name).suffix in (".h", ".cc", ".inc")]


def ours(entry):
    path = pathlib.Path(entry["file"])
    return path.is_relative_to(REPO) and str(path.relative_to(REPO)).startswith(ROOMS)


def check(entry):
    done = subprocess.run(entry["command"] + " -fsyntax-only", shell=True, cwd=entry["directory"], capture_output=True, text=True, check=False)
    return entry["file"], done.returncode, done.stderr.strip()


def main():
    build, jobs = sys.argv[1], int(sys.argv[2])
    subprocess.run(["ninja", "-C", build, *generated_files(build)], check=True, stdout=subprocess.DEVNULL)
    entries = [entry for entry in json.loads((pathlib.Path(build) / "compile_commands.json").read_text()) if ours(entry)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for file, status, talk in pool.map(check, entries):
            if status or talk:
                failed += 1
                print(f"{file}\n{talk}")
    print(f"{len(entries)} sources, {failed} with findings")
    return 1 if failed or not entries else 0


if __name__ == "__main__":
    sys.exit(main())

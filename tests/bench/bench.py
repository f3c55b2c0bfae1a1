"""bench.py [NAME...] --build BUILD --cache CACHE [--json] [--only PART]... [--rounds N] [--quick]: runs the named benchmarks, all when none
is named. See tests/bench/run."""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile

import api
import cbt
import dashboard
import first_vm
import fleet_bench
import repository
import vss
import vss_engine
import wan


def run_vss(folder, build, cache):
    """The engine by itself, then what the saved state costs a guest."""
    yield from vss_engine.run(folder, build, cache)
    yield from vss.run(folder, build, cache)


BENCHMARKS = {"first-vm": first_vm.run, "cbt": cbt.run, "dashboard": dashboard.run, "fleet": fleet_bench.run, "repository": repository.run, "api": api.run, "vss": run_vss, "wan": wan.run}
COLUMNS = ("name", "value", "unit", "against", "ratio", "goal", "ok")


def show(figure):
    """One value as people read it."""
    if figure is None or figure == "":
        return "-"
    if isinstance(figure, bool):
        return "yes" if figure else "NO"
    return f"{figure:g}" if isinstance(figure, float) else str(figure)


def print_table(figures):
    rows = [COLUMNS, *([show(figure[column]) for column in COLUMNS] for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []])
    parser.add_argument("--build", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", action="append", choices=[*repository.PARTS, *fleet_bench.PARTS, *dashboard.PARTS], default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    for size, default in fleet_bench.SIZES.items():
        parser.add_argument(f"--{size}", type=int, default=default)
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ubench.", dir="/tmp"))
    figures = []
    try:
        for name in args.names or BENCHMARKS:
            options = {"repository": {"only": args.only, "quick": args.quick, "rounds": args.rounds},
                       "fleet": {"only": args.only, **{size: getattr(args, size) for size in fleet_bench.SIZES}},
                       "dashboard": {"only": args.only, "agents": args.agents, "vms": args.vms}}.get(name, {})
            for figure in BENCHMARKS[name](folder, args.build, args.cache, **options):
                figures.append({column: figure.get(column) for column in COLUMNS})
                if args.json:
                    print(json.dumps(figures[-1]), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not args.json:
        print_table(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How the figures of the benchmarks moved, run by run of one command line on one machine.

python -m benchmarks.history [NAME ...] [--file outputs/benchmarks/history.jsonl]

A line a run, the first one first: its day, the version of rddrs, its commit, the value, and the value in units of the
run before and of the first. Figures of other command lines and machines are never set side by side.
"""

import argparse
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.measured import HISTORY


def read(file: Path) -> list[dict[str, Any]]:
    """The runs that a file keeps, in the order of their times; raises SystemExit where there is none."""
    if not file.exists():
        raise SystemExit(f"{file}: no benchmark was run here: python -m benchmarks.cost, for one, writes it")
    return sorted((json.loads(line) for line in file.read_text().splitlines()), key=lambda run: run["time"])


def moved(runs: list[dict[str, Any]], name: str) -> list[str]:
    """The lines of a figure: of each run that has it, in units of the run before and of the first."""
    lines, known = [], [run for run in runs if name in run["figures"]]
    first = before = known[0]["figures"][name]
    for run in known:
        value, versions = run["figures"][name], run["versions"]
        ratios = (f"{value / other:8.3f}" if other else " " * 8 for other in (before, first))
        made = f"{run['time'][:10]}  {versions['rddrs']:<8}{versions['commit'][:9]:<11}"
        lines.append(f"    {made}{value:>12.6g}" + "".join(ratios))
        before = value
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="benchmarks; all without any")
    parser.add_argument("--file", type=Path, default=HISTORY)
    options = parser.parse_args(arguments)

    def kind(run: dict[str, Any]) -> tuple[str, list[str], str]:
        return run["benchmark"], run["words"], run["machine"]

    for (benchmark, words, machine), group in groupby(sorted(read(options.file), key=kind), key=kind):
        if options.names and benchmark not in options.names:
            continue
        runs = list(group)
        print(f"{benchmark} {' '.join(words)}\n  on {machine}; value, of the run before, of the first")
        for name in dict.fromkeys(name for run in runs for name in run["figures"]):
            print(f"  {name}", *moved(runs, name), sep="\n")


if __name__ == "__main__":
    main()

"""What a run survives: processes that are killed at random moments, and ten of them at once on one fresh folder.

python -m benchmarks.faults [--kills 20] [--processes 10] [--seed 0] [OVERRIDE ...]

A sweep of two methods with `certify.mode=memory` runs undisturbed; then it is killed outright (SIGKILL, the whole
process group) at random moments of its time and started again, in a fresh folder whenever it got to its end, until it
was killed as often as asked. The records that it leaves, times aside, must be those of the undisturbed sweep. Then the
given number of processes start the same run at once; each must end well, and leave these records. Overrides are those
of `python -m pipelines.run`; `python -m pipelines.audit` must find nothing wrong with what was killed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.measured import keep

SMALL = ("data=digits", "data.subset=12", "certify.samples=1000", "train.epochs=2", "certify.batch=128")
SWEEP = ("method=rs,ancer", "certify.mode=memory")
TIMES = ["optimize_seconds", "certify_seconds"]


def started(stage: str, root: Path, *overrides: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"pipelines.{stage}", *overrides, f"output_root={root}"]
    with (root.parent / f"{root.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def records(root: Path) -> dict[str, pd.DataFrame]:
    """The table of every run below a root, without the times."""
    return {
        path.parent.name: pd.read_parquet(path).drop(columns=TIMES)
        for path in sorted(root.glob("runs/*/records.parquet"))
    }


def same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> bool:
    return one.keys() == other.keys() and all(one[name].equals(other[name]) for name in one)


def killed(overrides: list[str], place: Path, count: int, source: random.Random) -> int:
    """How many of the kills left, in the end, the records of the undisturbed sweep, and passed the audit."""
    start = time.perf_counter()
    assert started("run", place / "whole", "--multirun", *overrides, *SWEEP).wait() == 0, place
    seconds, right = time.perf_counter() - start, records(place / "whole")
    print(f"undisturbed: {seconds:.0f} s, {', '.join(right)}", flush=True)
    done, held, turn = 0, 0, 0
    while done < count:
        root, kills, turn = place / f"killed{turn}", 0, turn + 1
        while True:
            process = started("run", root, "--multirun", *overrides, *SWEEP)
            try:
                assert process.wait(source.uniform(0, seconds) if done + kills < count else None) == 0, root
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        audits = [
            started("audit", root, *overrides, f"method={name}", "certify.mode=memory", "audit.samples=1000").wait()
            for name in ("rs", "ancer")
        ]
        good = same(records(root), right) and audits == [0, 0]
        done, held = done + kills, held + kills * good
        print(f"{root.name}: {kills} kills, {'the records of the undisturbed sweep' if good else 'OTHER'}", flush=True)
    return held


def together(overrides: list[str], place: Path, count: int) -> int:
    """How many of so many processes that start the same run at once end well and leave the same records."""
    processes = [started("run", place / "together", *overrides, "method=ancer") for _ in range(count)]
    ended = [process.wait() for process in processes]
    assert started("run", place / "alone", *overrides, "method=ancer").wait() == 0
    good = same(records(place / "together"), records(place / "alone"))
    return sum(status == 0 for status in ended) * good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="faults"))
    overrides = [*SMALL, *options.overrides]
    print(f"below {place}")
    well = together(overrides, place, options.processes)
    print(f"together: {well} of {options.processes}", flush=True)
    held = killed(overrides, place, options.kills, random.Random(options.seed))
    print(f"killed: {held} of {options.kills}")
    keep("faults", {"together": well, "killed": held})


if __name__ == "__main__":
    main()

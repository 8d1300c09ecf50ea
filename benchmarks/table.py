"""What many small inputs cost: a whole run over a table of 20 columns, its report, and the same run once more.

python -m benchmarks.table [--inputs 10000] [--samples 200] [--root FOLDER] [KEY=VALUE ...]

The inputs are normal numbers, their labels those of a random function of three classes; the network is the default one
for tables, the method RS. Seconds are the processor's, of the command and all that it starts; files and megabytes are
what the commands left below `output_root`. Keys go to every command: `method=ancer`.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

COLUMNS, CLASSES, TRAINING = 20, 3, 2_000


def table(inputs: int) -> dict[str, np.ndarray]:
    """Training and test inputs, and their labels."""
    source = np.random.default_rng(0)
    directions = source.normal(size=(COLUMNS, CLASSES))
    found = {}
    for part, count in (("train", TRAINING), ("test", inputs)):
        x = source.normal(size=(count, COLUMNS)).astype(np.float32)
        answers = x @ directions
        found |= {f"x_{part}": x, f"y_{part}": (answers + np.sqrt(np.abs(answers))).argmax(axis=1)}
    return found


def seconds(*words: str) -> float:
    """The processor's seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--root", type=Path, help="where to work; a folder that is deleted, without it")
    options, keys = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        file, outputs = root / "table.npz", root / "outputs"
        np.savez(file, allow_pickle=False, **table(options.inputs))
        words = ["method=rs", "sigma=0.5", "data=arrays", f"data.file={file}", f"data.subset={options.inputs}"]
        words += [f"certify.samples={options.samples}", f"output_root={outputs}", *keys]
        found = {stage: seconds(f"pipelines.{stage}", *words) for stage in ("run", "report")}
        found["run again"] = seconds("pipelines.run", *words)
        files = [path for path in outputs.rglob("*") if path.is_file()]
        once = {it.st_ino: it.st_size for it in map(Path.stat, files)}  # a hard link takes no place
        for name, value in found.items():
            print(f"{name:12}{value:8.1f} s")
        print(f"files       {len(files):8}\nmegabytes   {sum(once.values()) / 1e6:8.1f}")


if __name__ == "__main__":
    main()

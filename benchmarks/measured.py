"""What benchmarks measured: a line a run, of its figures, the version and the machine, in `outputs/benchmarks`."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from rddrs.records.manifest import commit, versions

HISTORY = Path("outputs/benchmarks/history.jsonl")


def machine() -> str:
    """The processor, its cores, those that torch uses, and the accelerator, if there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        cores = sum(line.startswith("processor") for line in lines)
    except (OSError, StopIteration):
        processor, cores = platform.processor() or platform.machine(), 0
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {torch.get_num_threads()} of {cores} cores{accelerator}"


def keep(benchmark: str, figures: Mapping[str, float], words: Sequence[str] | None = None) -> None:
    """Add a run of a benchmark to the history: its figures, and the words of its command line if they are not ours."""
    line: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "benchmark": benchmark,
        "words": list(sys.argv[1:] if words is None else words),
        "machine": machine(),
        "versions": versions() | {"commit": commit()},
        "figures": {name: float(value) for name, value in figures.items()},
    }
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with HISTORY.open("a") as file:
        file.write(json.dumps(line) + "\n")

"""sigma_x, which is the same for all methods: searched once, then read."""

import json
import time
from pathlib import Path

from rddrs.files import write_text
from rddrs.methods.base import Problem


def kept_sigma_x(problem: Problem, path: Path) -> tuple[float, float]:
    """The sigma_x of an input and the seconds that its search took: those that `path` holds, else found now."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        start = time.perf_counter()
        found = {"sigma_x": problem.sigma_x, "seconds": time.perf_counter() - start}
        write_text(path, json.dumps(found))
    kept = json.loads(path.read_text())
    return kept["sigma_x"], kept["seconds"]

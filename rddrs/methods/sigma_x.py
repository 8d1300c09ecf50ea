"""sigma_x, which is the same for all methods: searched once, then read."""

import json
import math
import time

from rddrs.archives import Archives
from rddrs.files import reading
from rddrs.methods.base import Problem


def kept_sigma_x(problem: Problem, archives: Archives) -> tuple[float, float]:
    """The sigma_x of an input and the seconds that its search took: those that are kept, else found now."""
    name = f"{problem.index}.json"
    if (part := archives.find(name)) is not None:
        with reading(part.path):
            kept = json.loads(part.read())
            if not (0 < kept["sigma_x"] < math.inf and 0 <= kept["seconds"] < math.inf):
                raise ValueError(f"input {problem.index} has {kept}")
            return kept["sigma_x"], kept["seconds"]
    start = time.perf_counter()
    found = problem.sigma_x, time.perf_counter() - start
    archives.write(name, json.dumps(dict(zip(("sigma_x", "seconds"), found, strict=True))).encode())
    return found

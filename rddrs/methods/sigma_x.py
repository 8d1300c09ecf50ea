"""sigma_x, which is the same for all methods: searched once, then read."""

import json
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
            return kept["sigma_x"], kept["seconds"]
    start = time.perf_counter()
    found = problem.sigma_x, time.perf_counter() - start
    archives.write(name, json.dumps(dict(zip(("sigma_x", "seconds"), found, strict=True))).encode())
    return found

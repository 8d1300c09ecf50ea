"""The log of the literature: a line an input, tab separated: idx label predict radius correct time."""

import math
from datetime import timedelta
from pathlib import Path

import pandas as pd

from rddrs.files import write_text
from rddrs.rounding import round_down

HEADINGS = {
    "idx": "index",
    "label": "label",
    "predict": "prediction",
    "radius": "radius",
    "correct": "correct",
    "time": "seconds",
}
"""The columns of a log, and what they are called here."""

SHOWN = ("index", "label", "prediction", "ball_radius", "correct", "optimize_seconds", "certify_seconds")
"""The columns of a run's records that its log follows from."""

DIGITS = 5


def write_log(path: str | Path, records: pd.DataFrame) -> None:
    """Write the records of a run as a log, all of it or nothing."""
    write_text(Path(path), log_of(records))


def log_of(records: pd.DataFrame) -> str:
    """The records of a run as the text of a log.

    The radius is that of the largest ball inside the region, in the input's units, rounded down; the time, h:m:s, is
    that of the search for C and of the certification together.
    """
    lines = ["\t".join(HEADINGS)]
    for row in records.loc[:, [*SHOWN]].to_dict("records"):
        took = timedelta(seconds=row["optimize_seconds"] + row["certify_seconds"])
        radius = round_down(row["ball_radius"], DIGITS)
        lines.append(f"{row['index']}\t{row['label']}\t{row['prediction']}\t{radius}\t{int(row['correct'])}\t{took}")
    return "\n".join(lines) + "\n"


def read_log(path: str | Path) -> pd.DataFrame:
    """The columns index, label, prediction, radius, correct and seconds of a log, in any of its published dialects.

    Times are seconds or h:m:s, `correct` is 0/1 or True/False, columns may be missing but for label, predict, radius
    and correct, further ones are left out. A negative radius, which is how some write that nothing is certified, is 0
    and not correct, nor is a prediction of another class than the label; an infinite radius stays. Raises ValueError,
    with the file and the line, where it is no such log or has an input twice.
    """
    lines = Path(path).read_text().splitlines()
    names = lines[0].split() if lines else []
    missing = [name for name in ("label", "predict", "radius", "correct") if name not in names]
    if missing:
        raise ValueError(f"{path}: it is no log: its first line names no column {', '.join(missing)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: it is no log: its first line names a column twice")
    rows, known = [], set[int]()
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        values = line.split("\t") if "\t" in line else line.split()
        try:
            if len(values) != len(names):
                raise ValueError(f"{len(values)} values for {len(names)} columns")
            row = _row(dict(zip(names, map(str.strip, values), strict=True)), len(rows))
            if row["index"] in known:
                raise ValueError(f"input {row['index']} has been before")
            known.add(int(row["index"]))
            rows.append(row)
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from error
    if not rows:
        raise ValueError(f"{path}: it is a log without a line")
    return pd.DataFrame(rows)


def _row(values: dict[str, str], place: int) -> dict[str, int | float | bool]:
    radius, correct = float(values["radius"]), values["correct"].lower()
    if correct not in ("0", "1", "0.0", "1.0", "true", "false"):
        raise ValueError(f"correct is {values['correct']}: 0 or 1, True or False is needed")
    if math.isnan(radius):
        raise ValueError("the radius is no number")
    label, prediction = _whole(values["label"]), _whole(values["predict"])
    return {
        "index": _whole(values.get("idx", str(place))),
        "label": label,
        "prediction": prediction,
        "radius": max(0.0, radius),
        "correct": correct in ("1", "1.0", "true") and radius >= 0 and label == prediction,
        "seconds": _seconds(values["time"]) if "time" in values else math.nan,
    }


def _whole(text: str) -> int:
    if not float(text).is_integer():
        raise ValueError(f"{text} is no whole number")
    return int(float(text))


def _seconds(text: str) -> float:
    """Seconds of a number, of h:m:s, or of what Python writes of more than a day: 1 day, 2:03:04."""
    days, _, clock = text.rpartition(" day")
    parts = [float(part) for part in clock.removeprefix("s").removeprefix(",").strip().split(":")]
    if len(parts) > 3:
        raise ValueError(f"time is {text}: seconds or h:m:s are needed")
    return 86400 * float(days or 0) + sum(value * 60**power for power, value in enumerate(reversed(parts)))

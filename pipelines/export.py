"""`rddrs export run=KEY file=model.rddrs`: one file of the classifier that a run certified."""

import sys
from pathlib import Path

from pipelines.plain import place, plain


@plain(run=None, file=None, output_root="outputs")
def export(run: str, file: str, output_root: str) -> None:
    """Write the file; `run` is the key of a run below `output_root`, or its folder."""
    from rddrs import open_run
    from rddrs.rounding import round_down

    sys.path.insert(0, "")  # the user's own network is found
    written = place("file", file)
    folder = Path(run) if Path(run).is_dir() else Path(output_root) / "runs" / run
    smoothed = open_run(folder).smoothed
    smoothed.save(written)
    found = {
        name: round_down(it, 4) if isinstance(it, float) and name != "alpha" else it
        for name, it in smoothed.card["certified"].items()
    }
    print(f"certified    {', '.join(f'{name} {it}' for name, it in found.items() if it is not None)}")
    print(f"written to   {file} ({written.stat().st_size:,} bytes)")

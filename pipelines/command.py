"""The command `rddrs`: `rddrs run method=rddrs sigma=0.5` is `python -m pipelines.run method=rddrs sigma=0.5`."""

import sys
from importlib import import_module
from importlib.metadata import version

STAGES = {
    "run": "train, certify and report",
    "train": "train the classifier under noise",
    "certify": "propose a scale and certify each input",
    "report": "tables, figures and the page of a finished run; runs=[KEY,KEY] sets runs side by side",
    "audit": "try to prove a run wrong",
}
USAGE = "\n".join(
    [
        "usage: rddrs STAGE [KEY=VALUE ...] [--multirun]",
        *(f"  {name:9}{told}" for name, told in STAGES.items()),
        "rddrs STAGE --help shows every key; rddrs --version",
    ]
)


def main() -> None:
    """Hand the rest of the command line to a stage."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        return print(USAGE)
    if name == "--version":
        return print(version("rddrs"))
    if name not in STAGES:
        sys.exit(f"error: there is no stage {name}\n{USAGE}")
    from pipelines.entry import entry

    del sys.argv[1]
    sys.path.insert(0, "")  # as `python -m` does: the user's own modules are found
    entry(getattr(import_module(f"pipelines.{name}"), name))()

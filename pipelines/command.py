"""The command `rddrs`: `rddrs run method=rddrs sigma=0.5` is `python -m pipelines.run method=rddrs sigma=0.5`."""

import os
import sys
from importlib import import_module
from importlib.metadata import version

from pipelines.errors import read_to_the_end

STAGES = {
    "run": "train, certify and report",
    "train": "train the classifier under noise",
    "certify": "propose a scale and certify each input",
    "report": "tables, figures and the page of a finished run; runs=[KEY,KEY] sets runs side by side",
    "audit": "try to prove a run wrong",
}
PLAIN = {
    "export": "one file of the classifier that a run certified: run=KEY file=model.rddrs",
    "predict": "classes of images, with abstentions: file=model.rddrs images=FOLDER",
}
"""Commands without a configuration."""

USAGE = "\n".join(
    [
        "usage: rddrs STAGE [KEY=VALUE ...] [--multirun]",
        *(f"  {name:9}{told}" for name, told in (STAGES | PLAIN).items()),
        'rddrs STAGE --help shows its keys; rddrs --version; eval "$(rddrs -sc install=bash)" completes them',
    ]
)


def main() -> None:
    """Hand the rest of the command line to a stage."""
    with read_to_the_end():
        _main()


def _main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        return print(USAGE)
    if name in ("-V", "--version", "version"):
        return print(version("rddrs"))
    if name in PLAIN:
        return getattr(import_module(f"pipelines.{name}"), name)(words[1:])
    if name in STAGES and not {"-h", "--help"}.isdisjoint(words):
        from pipelines.help import stage_help

        return print(stage_help(name, STAGES[name], words))
    from pipelines.entry import entry

    sys.path.insert(0, "")  # as `python -m` does: the user's own modules are found
    if name in ("-sc", "--shell-completion"):
        complete()
        words = ["run", *words]
    elif name not in STAGES:
        from pipelines.words import meant

        first = f": a stage comes first: rddrs run {name}" if "=" in name else meant(name, STAGES | PLAIN)
        print(f"error: there is no stage {name}{first}\n{USAGE}", file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = words[1:]
    entry(words[0])()


def complete() -> None:
    """Answer a shell that completes the stage, which Hydra does not know; else take the stage from its line."""
    line = os.environ.get("COMP_LINE")
    if line is None:
        return
    program, *words = line.split(" ")
    if len(words) < 2:
        print(" ".join([*STAGES, *PLAIN]))
        sys.exit()
    os.environ["COMP_LINE"] = shorter = " ".join([program, *words[1:]])
    os.environ["COMP_POINT"] = str(len(shorter))

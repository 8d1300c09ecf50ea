"""The paper's figure 2 as far as it is done: `python -m pipelines.figure2 outputs` draws what `experiment=figure2` has.

At any time, while it runs, too: of a run count the inputs of the shards that are finished, each evenly spaced itself.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import pandas as pd
from rich.console import Console

from pipelines.build import build
from pipelines.errors import SettingsError
from pipelines.settings import Settings
from pipelines.swept import read_note
from pipelines.told import near
from rddrs.data import Dataset
from rddrs.files import replacing
from rddrs.records import OutputRoot, Store
from rddrs.report import Run, claims_table, compare, comparison_table, paper_figure, save, verdicts


def figure2(root: Path) -> Path:
    """Draw and tabulate what is finished below an output root, a figure for each network; returns their folder."""
    folder, tables, claims = root / "figure2", [], []
    for network, runs in read_networks(OutputRoot(root)).items():
        save(paper_figure(runs), folder / network)
        tables.append(compare(runs).assign(network=network))
        for sigma in sorted({run.sigma for run in runs}):
            most_last = sorted(runs, key=lambda run: len(run.records))  # the claims are of the run with most inputs
            members = {run.label: run for run in most_last if run.sigma == sigma}
            claims += [row | {"network": network} for own in ("rddrs_paper", "rddrs") for row in verdicts(members, own)]
    found = {"comparison": pd.concat(tables), "claims": pd.DataFrame(claims).drop_duplicates()}
    for name, table in found.items():
        with replacing(folder / f"{name}.csv") as part:
            table.to_csv(part, index=False)
    console = Console()
    console.print(comparison_table(found["comparison"], console.width), claims_table(found["claims"]))
    console.print(f"written to   {near(folder)}", soft_wrap=True)
    return folder


def read_networks(root: OutputRoot) -> dict[str, list[Run]]:
    """The runs of all sweeps of `experiment=figure2`, by the name of their network; raises SettingsError."""
    shards: dict[str, list[Settings]] = defaultdict(list)
    labels: dict[str, str] = {}
    notes = root.sweeps.glob("figure2-*/jobs/*.json")
    for path in sorted(notes, key=lambda path: (path.parent, int(path.stem))):
        note = json.loads(path.read_text())
        if "run" in note:
            shards[note["run"]].append(read_note(note))
            labels[note["run"]] = contestant(note["overrides"])
    if not shards:
        raise SettingsError(f"{root.path}: no job of experiment=figure2 is finished below it")
    data = build("data", next(iter(shards.values()))[0].data, {})
    networks: dict[str, list[Run]] = defaultdict(list)
    for name, settings in shards.items():
        network = settings[0].classifier.target.rpartition(".")[2].lower()
        networks[network].append(so_far(root, name, labels[name], settings, data))
    return networks


def contestant(overrides: list[str]) -> str:
    """What a job is called: its part `contestant`."""
    return next(word.partition("=")[2] for word in overrides if word.startswith("+contestant="))


def so_far(root: OutputRoot, name: str, label: str, shards: list[Settings], data: Dataset) -> Run:
    """A run with the records of the shards that are finished."""
    indices = data.evaluation_indices(shards[0].data.subset)
    done = sorted({index for it in shards for index in indices[it.shard.index :: it.shard.count]})
    places = root.run(name)
    store, method = Store(places.path), shards[0].method.name
    text = places.configuration.read_text()
    return Run(name, method, shards[0].sigma, store.records(done), store.load, text, label)


def main() -> None:
    """Bad input ends with exit status 2 and one message."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.figure2", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path("outputs"), help="output_root of the experiment")
    try:
        figure2(parser.parse_args().root)
    except (SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

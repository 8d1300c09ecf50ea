"""A finished run, opened: what people and the stages after certification work on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from rddrs.certification import Certificate, PathTerms, Smoothed
from rddrs.records import RunFolder, Store, claims
from rddrs.records.record import path_names
from rddrs.records.stated import configuration_in
from rddrs.report.deployed import network_of, smoothed_of
from rddrs.report.figures import run_figures
from rddrs.report.paths import clean_accuracy, path_figure
from rddrs.report.shapes import region_figure
from rddrs.report.tables import Run, compare


@dataclass(frozen=True, eq=False, repr=False)
class OpenedRun(Run):
    """A `Run` with its certificates: `certificate(index)` is what the run claims of an input, after the memory."""

    certificate: Callable[[int], Certificate] = field(kw_only=True)
    store: Store = field(kw_only=True)

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return self.store.folder

    def input(self, index: int) -> Tensor:
        return self.store.input(index)

    @property
    def smoothed(self) -> Smoothed:
        """The classifier that was certified, for use: it predicts, certifies, and can be saved in one file.

        Raises ValueError where every input has a C of its own, and where the network is not found.
        """
        return smoothed_of(self.folder, self.records)

    @property
    def network(self) -> nn.Module:
        """The network that the certificates are bound to; raises ValueError where it is not found."""
        return network_of(self.folder, self.records)

    @cached_property
    def bound_to(self) -> str:
        """The digest of the network that the certificates are of."""
        return self.store.stated(int(self.records["index"].iloc[0]))["binding"]["classifier"]

    @property
    def table(self) -> pd.DataFrame:
        """The records, one row an input."""
        return self.records

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of the run's page by their names, drawn anew."""
        return run_figures(self)

    def __repr__(self) -> str:
        return f"OpenedRun({self.name}: {len(self.records)} inputs)"

    def _repr_html_(self) -> str:
        return compare([self]).T.to_html(header=False)


def open_run(folder: str | Path) -> OpenedRun:
    """The finished run in a folder `outputs/runs/<key>`, wherever it lies now: its table, certificates and figures.

    Raises ValueError where there is none. What is read is what the files state: `rddrs audit` proves it.
    """
    places = RunFolder(Path(folder))
    if not places.is_finished:
        raise ValueError(f"{folder} is no finished run: it holds no {places.records.name}")
    text = places.configuration.read_text()
    stated = configuration_in(text)
    store, records = Store(places.path), pd.read_parquet(places.records)
    known: dict[str, Any] = {"certificate": claims(store, stated["certify"]["mode"]), "store": store}
    return OpenedRun(places.name, stated["method"]["name"], stated["sigma"], records, store.load, text, **known)


Drawn = tuple[dict[str, Figure], list[str]]
"""Figures by their names, and a sentence on everything that they leave out."""


def plane_figures(runs: Sequence[OpenedRun], network: nn.Module | None = None) -> Drawn:
    """The decision regions of the first run's network, looked for unless given, and what the runs of it certify there.

    There are none where the inputs are not points of the plane, where no input is certified by all of these runs, and
    where the network is not found.
    """
    first = int(runs[0].records["index"].iloc[0])
    if runs[0].input(first).numel() != 2:
        return {}, []
    members = [run for run in runs if run.bound_to == runs[0].bound_to]
    others = [told_in(run) for run in runs if run not in members]
    left_out = [f"Regions: of {', '.join(others)} nothing is drawn; the network is another."] if others else []
    shared = set.intersection(*(set(run.records.loc[run.records["radius"] > 0, "index"]) for run in members))
    if not shared:
        return {}, ["Regions are not drawn: no input is certified by all of these runs."]
    try:
        network = network or runs[0].network
    except Exception as error:  # whatever a user's own code raises
        return {}, [f"Regions are not drawn: the network of {told_in(runs[0])} cannot be made: {error}"]
    return {"regions": region_figure(network.cpu(), members, sorted(shared)[len(shared) // 2])}, left_out


def paths_figures(runs: Sequence[OpenedRun]) -> Drawn:
    """How far the paths of the runs are certified, beside what their networks answer without noise, where found."""
    shown, clean = [run for run in runs if path_names(run.records)], {}
    left_out, lacking = [], "Paths: {} is not drawn without noise; {}"
    for run in shown:
        try:
            network = run.network.cpu()
        except Exception as error:  # whatever a user's own code raises
            left_out.append(lacking.format(told_in(run), f"its network cannot be made: {error}"))
            continue
        labels = dict(zip(run.records["index"].tolist(), run.records["label"].tolist(), strict=True))
        first = next(iter(labels))
        for name in path_names(run.records):
            try:
                terms = PathTerms.of(run.store.path_certificate(first, name, PathTerms(name, 0.0, 1.0)))
            except ValueError as error:  # a perturbation of the user's own
                left_out.append(lacking.format(f"{told_in(run)} along {name}", error))
                continue
            labelled = ((run.input(index), label) for index, label in labels.items())
            clean[run.name, name] = clean_accuracy(network, labelled, terms)
    return ({"paths": path_figure(shown, clean)} if shown else {}), left_out


def told_in(run: Run) -> str:
    """What a run is called in a sentence."""
    return f"{run.label or run.method} at sigma {run.sigma:g}"

"""What a run keeps: one atomic file an input (region, certificate, record), and the table of records.

A file is written beside its place and renamed into it, so that a crash or a full disk loses nothing that was finished
and leaves nothing that is half done.
"""

import json
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rddrs.certification import Certificate
from rddrs.files import replacing
from rddrs.noise import Scale, from_tensors

COLUMNS = [
    *("index", "label", "prediction", "correct", "p_lower", "radius", "proxy_radius", "ball_radius", "log_volume"),
    *("scale_min", "scale_max", "log_det", "sigma_x", "fidelity", "contradictions", "status"),
    *("optimize_seconds", "certify_seconds"),
]
"""The columns that every record has, in order; others follow them."""


_KEPT = (
    *("prediction", "p_lower", "radius", "selection_counts", "counts", "alpha", "bound", "decision"),
    *("seed", "samples", "selection_samples", "batch"),
)


def measures(certificate: Certificate) -> dict[str, Any]:
    """The columns of a record that the certificate alone decides."""
    names = ("prediction", "p_lower", "radius", "proxy_radius", "ball_radius", "log_volume")
    values = certificate.scale.eigenvalues
    spectrum = {"scale_min": values[0].item(), "scale_max": values[-1].item(), "log_det": certificate.scale.log_det}
    decided = {"decision": certificate.decision, "samples": certificate.samples} if certificate.decision else {}
    return {name: getattr(certificate, name) for name in names} | spectrum | decided


def kept(certificate: Certificate) -> dict[str, Any]:
    """What a file keeps of a certificate beside its input and scale, for JSON."""
    return {name: getattr(certificate, name) for name in _KEPT}


def rebuild(x: Tensor, scale: Scale, index: int, values: dict[str, Any]) -> Certificate:
    """The certificate of which `kept` gave the values."""
    counts = {name: tuple(values[name]) for name in ("selection_counts", "counts")}
    arguments: dict[str, Any] = {**values, **counts}
    return Certificate(x=x, scale=scale, index=index, **arguments)


@dataclass(frozen=True)
class Store:
    """The regions and records of one run, in `folder`."""

    folder: Path

    @property
    def regions(self) -> Path:
        return self.folder / "regions"

    def path(self, index: int) -> Path:
        """Where the region of an input lies."""
        return self.regions / f"{index}.safetensors"

    def finished(self) -> set[int]:
        """The indices of the inputs that are done."""
        return {int(path.stem) for path in self.regions.glob("[0-9]*.safetensors")}

    def save(self, certificate: Certificate, record: dict[str, Any]) -> None:
        """Write an input's scale, its certificate and its record, all of it or nothing.

        The seed and the counts are kept, so that every count can be repeated. Raises ValueError where a column of the
        record is missing or a number of it is NaN.
        """
        missing = [column for column in COLUMNS if column not in record]
        if missing or any(value != value for value in record.values()):
            raise ValueError(f"the record of input {certificate.index} lacks {missing} or holds NaN: {record}")
        header = {"record": json.dumps(record), "certificate": json.dumps(kept(certificate))}
        self.regions.mkdir(parents=True, exist_ok=True)
        tensors = {**certificate.scale.tensors(), "x": certificate.x}
        with replacing(self.path(certificate.index)) as part:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, part, header)

    @contextmanager
    def _opened(self, index: int):
        path = self.path(index)
        try:
            with safe_open(path, "pt") as file:
                yield file
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and run again") from error

    def _header(self, index: int, key: str) -> dict[str, Any]:
        with self._opened(index) as file:
            return json.loads(file.metadata()[key])

    def record(self, index: int) -> dict[str, Any]:
        """The record of an input; raises ValueError where its file is damaged."""
        return self._header(index, "record")

    def load(self, index: int) -> tuple[Tensor, Scale]:
        """The input and its scale; raises ValueError where its file is damaged."""
        with self._opened(index) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors.pop("x"), from_tensors(tensors)

    def certificate(self, index: int) -> Certificate:
        """The certificate of an input, as `certify` returned it; raises ValueError where its file is damaged."""
        x, scale = self.load(index)
        return rebuild(x, scale, index, self._header(index, "certificate"))

    def records(self, indices: Iterable[int]) -> pd.DataFrame:
        """One row an input, in the order of the indices. Raises ValueError naming the indices that are missing."""
        wanted = list(indices)
        missing = sorted(set(wanted) - self.finished())
        if missing:
            raise ValueError(f"{len(missing)} of {len(wanted)} inputs are not certified yet: {missing}")
        table = pd.DataFrame([self.record(index) for index in wanted])
        return table.reindex(columns=[*COLUMNS, *table.columns.difference(COLUMNS, sort=False)])

"""What a run keeps: one atomic file an input (region, certificate, record), and the table of records.

A crash or a full disk loses nothing that was finished and leaves nothing that is half done: a file is written beside
its place and renamed into it (`files`), or appended to an archive (`archives`).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load, save
from torch import Tensor

from rddrs.archives import Archives, Part
from rddrs.certification import ABSTAIN, Certificate, PathCertificate, PathTerms
from rddrs.certification.certify import are_counts
from rddrs.files import Unreadable, reading, replacing
from rddrs.noise import Norm, Scale, from_tensors, load_scale, save_scale
from rddrs.options import check_values
from rddrs.records.binding import Binding
from rddrs.records.paths import path_kept, path_rebuilt
from rddrs.records.record import COLUMNS
from rddrs.records.run_folder import RunFolder

MOST_CERTAIN = 1 - 2.0**-53
"""No radius is that of a larger probability."""

HEAD = 1 << 13
"""Bytes in which nearly every header of a region ends, its length included."""

_KEPT = (
    *("prediction", "p_lower", "radius", "selection_counts", "counts", "alpha", "bound", "decision"),
    *("seed", "samples", "selection_samples", "batch", "norm", "grid"),
)


def kept(certificate: Certificate) -> dict[str, Any]:
    """What a file keeps of a certificate beside its input and scale, for JSON."""
    return {name: getattr(certificate, name) for name in _KEPT}


def rebuild(x: Tensor, scale: Scale, index: int, values: dict[str, Any]) -> Certificate:
    """The certificate of which `kept` gave the values."""
    counts = {name: tuple(values[name]) for name in ("selection_counts", "counts")}
    arguments: dict[str, Any] = {**values, **counts, "x": x, "scale": scale, "index": index}
    for name, found in counts.items():
        if not are_counts(found):
            raise ValueError(f"its {name} are no whole numbers")
    if scale.dim != x.numel():
        raise ValueError(f"x has {x.numel()} entries, its C is of inputs of {scale.dim}")
    check_values(Certificate, arguments)
    certificate = Certificate(**arguments)
    if not ABSTAIN <= certificate.prediction < 1 << 31:
        raise ValueError(f"prediction={certificate.prediction}: no class has that number")
    if not certificate.radius <= (most := certificate.family.radius(MOST_CERTAIN)):
        raise ValueError(f"radius={certificate.radius}: no probability below 1 has more than {most:.3g}")
    return certificate


@dataclass(frozen=True)
class Store:
    """The regions and records of one run, in `folder`.

    With a `binding` every region that is written states it, and one that states another, or none, is not read. Where
    it is `packed`, regions are appended to archives: ten thousand inputs are ten files. Both forms are read.
    """

    folder: Path
    binding: Binding | None = None
    packed: bool = False
    _scales: dict[tuple[str, Norm], Scale] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def places(self) -> RunFolder:
        """Where everything of the run lies."""
        return RunFolder(self.folder)

    @cached_property
    def regions(self) -> Path:
        return self.places.regions

    @cached_property
    def archives(self) -> Archives:
        """The archives of regions."""
        return Archives(self.regions)

    def path(self, index: int) -> Path:
        """Where the region of an input lies, if it has a file of its own; else its name in an archive."""
        return self.places.region(index)

    def finished(self) -> set[int]:
        """The indices of the inputs whose files are there."""
        names = {path.name for path in self.regions.glob("[0-9]*.safetensors")} | self.archives.names()
        return {int(name.partition(".")[0]) for name in names}

    def is_whole(self, index: int) -> bool:
        """Whether all that an input's file refers to is there, too; raises ValueError as all that reads."""
        scale = self.stated(index).get("scale")
        return scale is None or self.places.scale(scale).exists()

    def save(
        self,
        certificate: Certificate,
        record: dict[str, Any],
        shared: bool = False,
        paths: Sequence[PathCertificate] = (),
    ) -> None:
        """Write an input's scale, its certificate, its paths and its record, all of it or nothing.

        A scale that many inputs share is written once, beside the regions, which then hold its digest. The seed and
        the counts are kept, so that every count can be repeated. Raises ValueError where a column of the record is
        missing or a number of it is NaN.
        """
        missing = [column for column in COLUMNS if column not in record]
        if missing or any(value != value for value in record.values()):
            raise ValueError(f"the record of input {certificate.index} lacks {missing} or holds NaN: {record}")
        stated: dict[str, Any] = {"record": record, "certificate": kept(certificate)}
        stated |= {"paths": {path.name: path_kept(path) for path in paths}} if paths else {}
        stated |= {"binding": asdict(self.binding)} if self.binding else {}
        tensors = {"x": certificate.x}
        if shared:
            stated["scale"] = certificate.scale.digest
            path = self.places.scale(certificate.scale.digest)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                save_scale(certificate.scale, path, certificate.norm)
        else:
            tensors |= certificate.scale.tensors()
        header = {name: json.dumps(value) for name, value in stated.items()}
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, header)
        path = self.path(certificate.index)
        if self.packed:
            return self.archives.write(path.name, content)
        self.regions.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(content)

    def _shared_scale(self, digest: str, norm: Norm) -> Scale:
        if (digest, norm) not in self._scales:
            path = self.places.scale(digest)
            scale = load_scale(path, norm)
            with reading(path):
                if scale.digest != digest:
                    raise ValueError("it holds another scale")
            self._scales[digest, norm] = scale
        return self._scales[digest, norm]

    @contextmanager
    def _opened(self, index: int) -> Iterator[tuple[Part, dict[str, Any]]]:
        """Where a region lies and what it states."""
        path = self.path(index)
        found = None if path.exists() else self.archives.find(path.name)
        path = path if found is None else found.path / path.name
        with reading(path):
            part = found or Part(path, 0, path.stat().st_size)
            stated = {name: json.loads(text) for name, text in _header(part).items()}
            others = self.binding.differences(stated.get("binding", {})) if self.binding else []
            if others:
                raise Unreadable(f"{path} is of another {' and '.join(others)} than this run: delete it and run again")
            if stated["record"]["index"] != index:
                raise Unreadable(f"{path} is the region of input {stated['record']['index']}: delete it and run again")
            yield part, stated

    def stated(self, index: int) -> dict[str, Any]:
        """What the file of an input states: `record`, `certificate` and, where it is bound, `binding`.

        Raises ValueError, as all that reads, where it is damaged or of another run or input.
        """
        with self._opened(index) as (_, stated):
            return stated

    def record(self, index: int) -> dict[str, Any]:
        """The record of an input."""
        return self.stated(index)["record"]

    def input(self, index: int) -> Tensor:
        """The input alone: to make its scale, and to check it, takes far longer where that is a large matrix."""
        with self._opened(index) as (part, _):
            return load(part.read())["x"]

    def load(self, index: int) -> tuple[Tensor, Scale]:
        """The input and its scale."""
        certificate = self.certificate(index)
        return certificate.x, certificate.scale

    def certificate(self, index: int) -> Certificate:
        """The certificate of an input, as `certify` returned it."""
        with self._opened(index) as (part, stated):
            tensors = load(part.read())
            x = tensors.pop("x")
            if "scale" not in stated:
                scale = from_tensors(tensors)
            elif tensors:
                raise ValueError(f"its scale is in another file, and beside x there are {', '.join(tensors)}")
            else:
                scale = self._shared_scale(stated["scale"], stated["certificate"]["norm"])
            return rebuild(x, scale, index, stated["certificate"])

    def path_certificate(self, index: int, name: str, terms: PathTerms) -> PathCertificate:
        """A path of an input by its name, as `certify_path` returned it; raises ValueError where there is none."""
        certificate, kept = self.certificate(index), self.stated(index).get("paths", {})
        with reading(self.path(index)):
            return path_rebuilt(kept[name], certificate, terms)

    def records(self, indices: Iterable[int]) -> pd.DataFrame:
        """One row an input, in the order of the indices. Raises ValueError naming the indices that are missing."""
        wanted = list(indices)
        missing = sorted(set(wanted) - self.finished())
        if missing:
            raise ValueError(f"{len(missing)} of {len(wanted)} inputs are not certified yet: {missing}")
        table = pd.DataFrame([self.record(index) for index in wanted])
        return table.reindex(columns=[*COLUMNS, *table.columns.difference(COLUMNS, sort=False)])


def essence(part: Part) -> bytes:
    """The content of a file of the store or of the memory, but for the seconds that an input took."""
    content = part.read()
    try:
        stated = _header(part)
    except (LookupError, ValueError):  # what the memory left, or damaged
        return content
    record = json.loads(stated.pop("record", "{}"))
    kept = {name: value for name, value in record.items() if not name.endswith("seconds")}
    length = int.from_bytes(content[:8], "little")
    return json.dumps([sorted(stated.items()), kept]).encode() + content[8 + length :]


def _header(part: Part) -> dict[str, str]:
    """What a safetensors file states beside its tensors, without reading these."""
    begun = part.read(HEAD)
    length = int.from_bytes(begun[:8], "little")
    header = json.loads((begun if 8 + length <= HEAD else part.read(8 + length))[8 : 8 + length])
    stated = header.pop("__metadata__")
    if 8 + length + max(it["data_offsets"][1] for it in header.values()) != part.size:
        raise ValueError("it is not as long as it says")
    return stated

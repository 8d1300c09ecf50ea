"""What the memory left, on disk: one file an input, written as a whole or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from rddrs.certification import Certificate
from rddrs.files import replacing, write_text
from rddrs.noise import from_tensors
from rddrs.records.store import kept, rebuild
from rddrs.trust import Outcome


class Folder:
    """Outcomes in a folder, one safetensors file an input, each of which is there as a whole or not at all."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def indices(self) -> list[int]:
        return sorted(int(file.stem) for file in self.path.glob("[0-9]*.safetensors"))

    def read(self, index: int) -> Outcome:
        with safe_open(self.path / f"{index}.safetensors", "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = json.loads(file.metadata()["outcome"])
        x, values = tensors.pop("x"), header.pop("certificate")
        return Outcome(rebuild(x, from_tensors(tensors), index, values), **header)

    def write(self, outcome: Outcome) -> None:
        it = outcome.certificate
        header = _header(outcome) | {"certificate": kept(it)}
        tensors = {**it.scale.tensors(), "x": it.x}
        with replacing(self.path / f"{it.index}.safetensors") as part:
            tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            save_file(tensors, part, {"outcome": json.dumps(header)})


class Ledger:
    """Outcomes of a run's own certificates: one small JSON file an input; `raw(index)` reads the certificate."""

    def __init__(self, path: str | Path, raw: Callable[[int], Certificate]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._raw = raw

    def indices(self) -> list[int]:
        return sorted(int(file.stem) for file in self.path.glob("[0-9]*.json"))

    def read(self, index: int) -> Outcome:
        header = json.loads((self.path / f"{index}.json").read_text())
        left = {name: header.pop(name) for name in ("radius", "prediction")}
        return Outcome(replace(self._raw(index), **left), **header)

    def write(self, outcome: Outcome) -> None:
        left = {"radius": outcome.certificate.radius, "prediction": outcome.certificate.prediction}
        write_text(self.path / f"{outcome.certificate.index}.json", json.dumps(_header(outcome) | left))


def _header(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in ("raw_radius", "raw_prediction", "reason")}

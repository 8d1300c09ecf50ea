"""What the memory left, on disk: one file an input, written as a whole or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from rddrs.archives import Archives
from rddrs.certification import Certificate
from rddrs.digests import digest
from rddrs.files import Unreadable, reading, replacing, write_text
from rddrs.noise import from_tensors
from rddrs.records.stated import read_json
from rddrs.records.store import Store, kept, rebuild
from rddrs.trust import Outcome, certificate_digest

_LEFT = ("radius", "prediction", "decision")


class Folder:
    """Outcomes in a folder, one safetensors file an input, each of which is there as a whole or not at all.

    `read` raises ValueError where a file is not as it was written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def indices(self) -> list[int]:
        return sorted(int(file.stem) for file in self.path.glob("[0-9]*.safetensors"))

    def read(self, index: int) -> Outcome:
        path = self.path / f"{index}.safetensors"
        with reading(path), safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stated = file.metadata()
            found = digest(f"{index} {stated['outcome']}", tensors)
            if stated.get("digest", found) != found:  # files of 0.17.0 have none
                raise ValueError("its values are not those that were written")
            header = json.loads(stated["outcome"])
            x, values = tensors.pop("x"), header.pop("certificate")
            return Outcome(rebuild(x, from_tensors(tensors), index, values), **header)

    def write(self, outcome: Outcome) -> None:
        it = outcome.certificate
        text = json.dumps(_header(outcome) | {"certificate": kept(it)})
        tensors = {**it.scale.tensors(), "x": it.x}
        with replacing(self.path / f"{it.index}.safetensors") as part:
            tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            save_file(tensors, part, {"outcome": text, "digest": digest(f"{it.index} {text}", tensors)})


class Ledger:
    """Outcomes of a run's own certificates: one small JSON file an input; `raw(index)` reads the certificate.

    Where it is `packed` they are appended to archives. Both forms are read.

    An outcome is bound to the certificate that it was made of: `read` raises ValueError where `raw` gives another.
    """

    def __init__(self, path: str | Path, raw: Callable[[int], Certificate], packed: bool = False) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._raw, self._packed = raw, packed
        self.archives = Archives(self.path)

    def indices(self) -> list[int]:
        names = {file.name for file in self.path.glob("[0-9]*.json")} | self.archives.names()
        return sorted(int(name.partition(".")[0]) for name in names)

    def text(self, index: int) -> str | None:
        """What is stated of an input, None where nothing is."""
        path = self.path / f"{index}.json"
        with reading(path):
            if path.exists():
                return path.read_text()
            part = self.archives.find(path.name)
            return None if part is None else part.read().decode()

    def read(self, index: int) -> Outcome:
        path = self.path / f"{index}.json"
        raw, text = self._raw(index), self.text(index)
        with reading(path):
            if text is None:
                raise FileNotFoundError("there is no such file")
            header = read_json(text)
            if header["raw"] != certificate_digest(raw):
                raise Unreadable(f"{path} is of another certificate than that of input {index}: delete {self.path}")
            left = {name: header.pop(name) for name in _LEFT}
            return Outcome(replace(raw, **left), **header)

    def claimed(self, index: int) -> Certificate:
        """What is claimed of an input: what the memory left of its certificate; an abstention where it left nothing."""
        if self.text(index) is None:
            return Outcome.of(self._raw(index), 0.0, "").certificate
        return self.read(index).certificate

    def write(self, outcome: Outcome) -> None:
        left = {name: getattr(outcome.certificate, name) for name in _LEFT}
        name, text = f"{outcome.certificate.index}.json", json.dumps(_header(outcome) | left)
        if self._packed:
            self.archives.write(name, text.encode())
        else:
            write_text(self.path / name, text)


def claims(store: Store, mode: str) -> Callable[[int], Certificate]:
    """What a run of this `certify.mode` claims of an input: after the memory where it has one, abstentions included."""
    return store.certificate if mode == "per_input" else Ledger(store.places.memory, store.certificate).claimed


def _header(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in ("raw", "raw_radius", "raw_prediction", "reason")}

"""Whether what a run keeps of its inputs follows from counts, data and configuration; no file is believed."""

import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.archives import Archives, Part
from rddrs.certification import Certificate, PathTerms, Terms
from rddrs.files import Unreadable
from rddrs.methods import Proposal
from rddrs.records.binding import Binding
from rddrs.records.inputs import remembered
from rddrs.records.outcomes import Ledger
from rddrs.records.record import STATED, derived, path_column, path_columns, worth
from rddrs.records.stated import MISSING, Difference, differences, same
from rddrs.records.store import Store, essence
from rddrs.smoothing import Classifier, Fidelity, Reference
from rddrs.threats import PERTURBATIONS, Perturbation
from rddrs.trust import Memory
from rddrs.trust.audit import count_differences

_CLAIMED = ("prediction", "p_lower", "radius", "decision")


@dataclass(frozen=True)
class Examined:
    """What the file of one input should hold: where it differs, the record that follows, if any does, C's digest."""

    differences: list[Difference]
    record: dict[str, Any] | None
    scale: str | None = None


def examine(
    store: Store,
    index: int,
    x: Float[Tensor, "*shape"],
    label: int,
    measuring: Reference,
    *,
    terms: Terms,
    binding: Binding,
    known: dict[str, Any],
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    paths: Mapping[str, PathTerms] | None = None,
) -> Examined:
    """The region and record of one input, against its counts, the data and the run's configuration.

    `known` are the columns of its record that the configuration decides. The record that follows has the columns of
    the stated one that follow from nothing here (`record.STATED`) as they are stated, and no others. `store` must
    not be bound: what is of another run is a difference.
    """
    file = f"regions/{index}.safetensors"
    try:
        stated, certificate = store.stated(index), store.certificate(index)
    except ValueError as error:
        return Examined([Difference(file, index, "file", str(error), "one that can be read")], None)
    names = {
        "record",
        "certificate",
        "binding",
        *(("scale",) if "scale" in stated else ()),
        *(("paths",) if paths else ()),
    }
    found = differences(file, dict.fromkeys(stated, "a part"), dict.fromkeys(names, "a part"), index)
    found += differences(file, stated.get("binding", {}), asdict(binding), index)
    if certificate.x.shape != x.shape or not torch.equal(certificate.x, x.cpu()):
        return Examined([*found, Difference(file, index, "x", "another input", "that of the data")], None)
    found += [Difference(file, index, name, *pair) for name, pair in certificate.differences(terms).items()]
    for name, samples in (("selection_counts", certificate.selection_samples), ("counts", certificate.samples)):
        if sum(getattr(certificate, name)) > samples:
            found.append(Difference(file, index, name, f"{sum(getattr(certificate, name))} in sum", samples))
    proven = certificate.proven(terms)
    claimed, right = ({name: getattr(it, name) for name in _CLAIMED} for it in (certificate, proven))
    found += differences(file, claimed, right, index)
    stored: dict[str, Any] = {"clamp": terms.clamp, "rounding": terms.rounding}
    follows = derived(proven, label=label, measuring=measuring, perturbations=perturbations, **stored) | known
    follows = {name: stated["record"].get(name, "a value") for name in STATED} | follows
    unknown = stated.get("paths", {}).keys() - (paths or {}).keys()
    found += [Difference(file, index, f"path_{name}", "a path", MISSING) for name in sorted(unknown)]
    for name, path_terms in (paths or {}).items():
        try:
            follows |= path_columns(store.path_certificate(index, name, path_terms))
            seconds = path_column(name, "seconds")
            follows[seconds] = stated["record"].get(seconds, "a value")
        except ValueError as error:
            found.append(Difference(file, index, f"path_{name}", str(error), "one that can be read"))
    found += differences(file, stated["record"], follows, index)
    return Examined(found, follows, certificate.scale.digest)


def examine_run(
    store: Store,
    labelled: Iterable[tuple[int, Float[Tensor, "*shape"], int]],
    measuring: Reference,
    *,
    terms: Terms,
    binding: Binding,
    known: Mapping[str, Any],
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    paths: Mapping[str, PathTerms] | None = None,
    one_scale: bool = False,
    memory: bool = False,
) -> tuple[pd.DataFrame, list[Difference]]:
    """The records that follow from the regions of a run, and where these, and the outcomes of its memory, differ.

    `labelled` are index, input and label of all that it certified; they are looked at one at a time, as by `examine`.
    Without a batch that is `known` all have that of the first. With `one_scale` a region that has another is wrong.
    """
    known, rows, scales = dict(known), {}, []
    wrong: list[Difference] = []
    expected: set[Path] = set()
    for index, x, label in labelled:
        found = examine(
            store, index, x, label, measuring, terms=terms, binding=binding, known=known, perturbations=perturbations,
            paths=paths,
        )  # fmt: skip
        wrong += found.differences
        expected |= {store.places.region(index)} | ({store.places.outcome(index)} if memory else set())
        if found.record is not None and found.scale is not None:
            rows[index] = found.record
            known.setdefault("batch", found.record["batch"])
            scales.append(found.scale)
            expected.add(store.places.scale(found.scale))
            if one_scale and found.scale != scales[0]:
                wrong.append(Difference(f"regions/{index}.safetensors", index, "scale", found.scale, scales[0]))
    kinds = (store.places.regions, store.places.memory, store.places.scales)
    for path in (path for folder in kinds for path in _files(folder) if path not in expected):
        wrong.append(Difference(store.places.relative(path), None, "file", "of no input of the run", "nothing"))
    for folder in kinds:
        wrong += _other_copies(store, folder) + _remains(store, folder, [path.name for path in expected])
    if memory:
        rows, found = memory_again(store, terms, rows, measuring, perturbations)
        wrong += found
    return pd.DataFrame(list(rows.values())), wrong


def _files(folder: Path) -> list[Path]:
    """The files of a folder, those in its archives by the names that they have as files of their own.

    An archive that cannot be read is named itself.
    """
    names = {path.name for path in folder.glob("[!.]*") if path.suffix != ".tar"}
    try:
        names |= Archives(folder).names()
    except Unreadable:
        names |= {path.name for path in folder.glob("*.tar")}
    return [folder / name for name in sorted(names)]


def _other_copies(store: Store, folder: Path) -> list[Difference]:
    """The files of a folder that its archives hold twice, or beside one of their own, and not alike.

    Two processes that certified the same input have written the same, but for the seconds that it took.
    """
    found = []
    with suppress(Unreadable):  # which `_files` names
        for name, parts in sorted(Archives(folder).copies().items()):
            own = folder / name
            parts = [*parts, *([Part(own, 0, own.stat().st_size)] if own.exists() else [])]
            if len(parts) > 1 and len({essence(part) for part in parts}) > 1:
                told = f"{len(parts)} copies that differ"
                found.append(Difference(store.places.relative(own), None, "file", told, "one"))
    return found


def _remains(store: Store, folder: Path, names: Sequence[str]) -> list[Difference]:
    """The archives of a folder that end in what is not the beginning of a file of these names."""
    found = []
    with suppress(Unreadable):  # which `_files` names
        for path, rest in sorted(Archives(folder).remains().items()):
            begun = rest[: tarfile.LENGTH_NAME].rstrip(b"\0").decode(errors="replace")
            if not (begun in names or (len(rest) < tarfile.LENGTH_NAME and any(it.startswith(begun) for it in names))):
                found.append(Difference(store.places.relative(path), None, "file", "bytes of no file", MISSING))
    return found


def worth_differences(
    index: int, stated: Mapping[str, Any], measured: Fidelity, *, tolerance: int = 0, believed: bool = False
) -> list[Difference]:
    """Where what a record says of the worth of G_C is not what was measured again.

    With a tolerance so many answers, under C and under isotropic noise, may be others: all that is stated must follow
    from the same ones. Where it is `believed`, the accuracy under isotropic noise may be any.
    """
    fitting = _fitting(stated, measured, tolerance, measured.inputs if believed else tolerance)
    right = {**worth(fitting or measured)}
    shares, label, share = measured.distribution, *(stated.get(name) for name in _PREFERRED)
    if tolerance and isinstance(label, int) and 0 <= label < len(shares) and _is_share(share, measured.inputs):
        other = max(abs(share - shares[label]), abs(share - max(shares))) * measured.inputs
        right |= dict(zip(_PREFERRED, (label, share), strict=True)) if other < tolerance + 0.5 else {}
    return _stated_differences(index, stated, right)


def possible_worth_differences(
    index: int, stated: Mapping[str, Any], baseline: float, inputs: int, *, tolerance: int = 0, believed: bool = False
) -> list[Difference]:
    """Where the worth of G_C that a record states is that of no answers to so many inputs; none are asked for."""
    standard = inputs if believed else tolerance
    fitting = _fitting(stated, Fidelity(0.0, baseline, inputs, (0.0,)), inputs, standard)
    right: dict[str, Any] = {"fidelity": f"a ratio of shares of {inputs}"}
    if fitting is not None:
        right = {name: value for name, value in worth(fitting).items() if name not in _PREFERRED}
    if not _is_share(stated.get("preferred_share"), inputs):
        right["preferred_share"] = f"a share of {inputs}"
    return _stated_differences(index, stated, right)


_PREFERRED = ("preferred_class", "preferred_share")


def _is_share(value: Any, inputs: int) -> TypeGuard[float]:
    """Whether it can be the share of some of so many inputs."""
    return isinstance(value, int | float) and 0 <= value <= 1 and abs(value * inputs - round(value * inputs)) < 1e-6


def _fitting(stated: Mapping[str, Any], measured: Fidelity, right: int, standard: int) -> Fidelity | None:
    """The fidelity that is stated, if it is one with so many other answers, under C and under isotropic noise, at most.

    Of several the one whose interval is stated.
    """
    value, many, found = stated.get("fidelity"), measured.inputs, None
    if not isinstance(value, int | float) or not 0 <= value <= many:
        return None
    accurate, best = (round(share * many) for share in (measured.accuracy, measured.baseline))
    for count in range(max(0, best - standard), min(many, best + standard) + 1):
        answers = round(value * max(count, 1))
        if answers <= many and abs(answers - accurate) <= right and same(value, answers / max(count, 1)):
            found = Fidelity(answers / many, count / many, many, measured.distribution)
            if all(same(stated.get(name), it) for name, it in worth(found).items() if name not in _PREFERRED):
                break
    return found


def _stated_differences(index: int, stated: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    said = {name: stated.get(name, MISSING) for name in right}
    return differences(f"regions/{index}.safetensors", said, right, index)


def memory_again(
    store: Store,
    terms: Terms,
    records: Mapping[int, dict[str, Any]],
    measuring: Reference,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
) -> tuple[dict[int, dict[str, Any]], list[Difference]]:
    """The records after a new pass of the memory over what is proven, and where the run's own outcomes differ."""

    def proven(index: int) -> Certificate:
        return store.certificate(index).proven(terms)

    with TemporaryDirectory() as folder:
        ledger = Ledger(folder, proven)
        memory = Memory(ledger, reference=measuring.inputs)
        stored: dict[str, Any] = {"clamp": terms.clamp, "rounding": terms.rounding}
        rows = remembered(memory, map(proven, sorted(records)), records, measuring, perturbations, **stored)
        after = {row["index"]: row for row in rows}
        return after, [found for index in after for found in _outcome_differences(store, ledger, index)]


def _outcome_differences(store: Store, right: Ledger, index: int) -> list[Difference]:
    """The claim and what the file says of it; `raw`, a digest of the certificate, is checked where a file is read."""
    file = f"memory/{index}.json"
    left = Ledger(store.places.memory, store.certificate)
    try:
        stated, follows = ({name: getattr(it.claimed(index), name) for name in _CLAIMED} for it in (left, right))
        texts = [json.loads(ledger.text(index) or "{}") for ledger in (left, right)]
    except (ValueError, KeyError) as error:
        return [Difference(file, index, "file", str(error), "one that can be read")]
    for row, text in zip((stated, follows), texts, strict=True):
        row |= {name: value for name, value in text.items() if name not in ("raw", *_CLAIMED)}
    return differences(file, stated, follows, index)


def recounted(
    store: Store, classifier: Classifier, index: int, *, terms: Terms, tolerance: int, device: str
) -> list[Difference]:
    """Where more than `tolerance` counts of a certificate are not those of its own samples, drawn again on a device."""
    other = count_differences(classifier, store.certificate(index).under(terms).to(device))
    if other <= tolerance:
        return []
    return [Difference(f"regions/{index}.safetensors", index, "counts", f"{other} that differ", "its samples'")]


def proposal_differences(store: Store, index: int, again: Proposal) -> list[Difference]:
    """Where the scale, the status, sigma_x or the iterations of an input are not those of a proposal made again."""
    certificate, record = store.certificate(index), store.record(index)
    scale = again.scale.to(certificate.x.device, certificate.x.dtype)  # as it is certified
    names = ("status", "sigma_x", "iterations")
    stated = {name: record.get(name) for name in names} | {"scale": certificate.scale.digest}
    right = {name: getattr(again, name) for name in names} | {"scale": scale.digest}
    return differences(f"regions/{index}.safetensors", stated, right, index)

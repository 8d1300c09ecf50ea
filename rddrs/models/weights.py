"""The weights of networks on disk: those of the network itself, whatever adapters are around it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rddrs.files import replacing
from rddrs.models.adapters import bare
from rddrs.models.checkpoints import State, is_average, state_of

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that wrappers of networks and of their parts put between those of the parts."""
NORMALIZATIONS = (("mean", "std"), ("means", "stds"), ("means", "sds"), ("mu", "sigma"))
"""How layers that normalise their input name what they keep."""


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors, all of it or nothing; shared weights are written under each name."""
    with replacing(path) as part:
        save_file({name: tensor.clone().contiguous() for name, tensor in bare(network).state_dict().items()}, part)


@dataclass(frozen=True)
class Match:
    """What of a file fits a network: its state dict, notes for people, a normalisation that the file keeps beside."""

    state: dict[str, Tensor]
    notes: list[str]
    normalization: tuple[list[float], list[float]] | None


def load_weights(
    network: nn.Module, path: Path, key: str = "classifier.checkpoint", state: str | None = None, new_head: bool = False
) -> list[str]:
    """Load a state dict (`.safetensors`, else a torch file, read with `weights_only=True`) into the network.

    What has to be done to make it fit, as `matching` tells, is returned, for people. Raises ValueError, with the `key`
    that named the file, where it is missing, damaged, holds NaN, or does not fit the network.
    """
    found = matching(network, path, key, state, new_head)
    bare(network).load_state_dict(found.state)
    return found.notes


def matching(
    network: nn.Module, path: Path, key: str = "classifier.checkpoint", state: str | None = None, new_head: bool = False
) -> Match:
    """The weights of the file under the network's own names.

    The state dict may lie below a key of the file, the likeliest or that of the name `state`; all its names may begin
    with those of wrappers (`module.`, `model._orig_mod.`, any others), and tensors that belong to no part of the
    network are left out. With `new_head` a last layer of another number of classes stays as it is in the network.
    Raises ValueError, with the `key` that named the file, where it is missing, damaged, holds NaN, or does not fit.
    """
    network, named = bare(network), f"{key}={path}"
    own = network.state_dict()
    wanted = without_wrappers(own)
    given, nest, notes = state_of(path, key, state, lambda it: max(prefixes(without_wrappers(it), wanted).values()))
    plain = without_wrappers(given)
    prefix = common_prefix(prefixes(plain, wanted), None if nest else state, named)
    if not any(prefix + short in plain for short in wanted):  # the network itself has one name before all others
        wanted = {short.partition(".")[2]: name for short, name in wanted.items()}
        prefix = common_prefix(prefixes(plain, wanted), None if nest else state, named)
    before = {plain[prefix + short].removesuffix(short) for short in wanted if prefix + short in plain} - {""}
    if before:
        notes.append(f"{named}: the prefix {min(before)!r} of its keys is left out")
    found = {name: given[plain[prefix + short]] for short, name in wanted.items() if prefix + short in plain}
    rest = [short for short in plain if not (short.startswith(prefix) and short.removeprefix(prefix) in wanted)]
    beside = [short for short in rest if is_beside(short, prefix, wanted)]
    normalization = kept_normalization({short: given[plain[short]] for short in beside})
    if prefix == "1." and normalization is None:
        notes.append(f"{named}: did a first part, 0, normalise the inputs? It is not kept there: classifier.normalize")
    if beside and found:
        notes.append(
            f"{named}: {named_few(plain[short] for short in beside)} belong to no part of the network: left out"
        )
    found |= {plain[short]: given[plain[short]] for short in rest if short not in beside}
    share(found, own, named)
    if new_head and (head := other_head(found, own)):
        found |= {name: own[name] for name in head}
        notes.append(f"{named}: {', '.join(head)} are of another number of classes: this layer is made anew")
    broken = [name for name, it in found.items() if it.is_floating_point() and not it.isfinite().all()]
    if broken:
        raise ValueError(f"{named}: {named_few(broken)} hold NaN or infinite numbers: the training diverged")
    coarse = {it.dtype for name, it in found.items() if name in own and it.dtype.itemsize < own[name].dtype.itemsize}
    if coarse:
        notes.append(f"{named}: its weights are {', '.join(map(str, coarse))}, the network's more precise")
    refuse_misfits(found, own, f"{named} does not fit {type(network).__name__}")
    return Match(found, notes, normalization)


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Every name by what it is without the names of wrappers; by itself where two would be one."""
    names = list(names)
    plain = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in names}
    return plain if len(plain) == len(names) else {name: name for name in names}


def prefixes(given: Collection[str], wanted: Collection[str]) -> dict[str, int]:
    """What stands before the network's own names in those of the file, and before how many of them."""
    counts = {"": 0}
    for name in given:
        parts = name.split(".")
        for cut in range(len(parts)):
            if (short := ".".join(parts[cut:])) in wanted:
                prefix = name.removesuffix(short)
                counts[prefix] = counts.get(prefix, 0) + 1
    return counts


def common_prefix(counts: dict[str, int], state: str | None, named: str) -> str:
    """The prefix of most names, or that of `state`.

    Raises ValueError where several sets of weights fit, of which none is an average of the others.
    """
    fitting = [prefix for prefix, count in counts.items() if count == max(counts.values())]
    if state is not None:
        if (prefix := f"{state.removesuffix('.')}.") not in fitting:
            raise ValueError(f"{named}: classifier.state={state}: it is one of {', '.join(filter(None, fitting))}")
        return prefix
    trained = [prefix for prefix in fitting if not is_average(prefix)] or fitting
    if "" in trained:
        return ""
    if len(trained) > 1:
        raise ValueError(f"{named} holds several sets of weights that fit: classifier.state is one of {trained}")
    return trained[0]


def is_beside(short: str, prefix: str, wanted: Collection[str]) -> bool:
    """Whether a tensor of the file belongs to no part of the network: not to a deeper network of the same kind."""
    if not short.startswith(prefix):
        return True
    first = short.removeprefix(prefix).partition(".")[0]
    return not first.isdigit() and first not in {name.partition(".")[0] for name in wanted}


def kept_normalization(beside: State) -> tuple[list[float], list[float]] | None:
    """The mean and the standard deviation of a layer before the network, `Sequential(normalise, network)`."""
    for short, mean in beside.items():
        place, _, last = short.rpartition(".")
        for one, other in NORMALIZATIONS:
            std = beside.get(f"{place}.{other}" if place else other)
            if last == one and std is not None and mean.numel() == std.numel():
                return mean.flatten().tolist(), std.flatten().tolist()
    return None


def share(found: dict[str, Tensor], own: State, named: str) -> None:
    """Give names of one shared weight that are missing what another of its names has; raises where they differ."""
    by_place: dict[tuple[int, torch.Size], list[str]] = {}
    for name, tensor in own.items():
        if isinstance(tensor, Tensor) and tensor.numel() > 0:
            by_place.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    for names in by_place.values():
        known = [name for name in names if name in found]
        for name in known[1:]:
            if not torch.equal(found[name], found[known[0]]):
                raise ValueError(
                    f"{named}: {known[0]} and {name} are one weight in the network, and differ in the file"
                )
        found |= {name: found[known[0]] for name in names if known}


def other_head(found: State, own: State) -> list[str]:
    """The names of one layer that differs in the number of its outputs alone."""
    differ = [name for name, it in found.items() if name in own and it.shape != own[name].shape]
    layers = {name.rpartition(".")[0] for name in differ}
    alike = all(found[name].shape[1:] == own[name].shape[1:] for name in differ)
    return differ if len(layers) == 1 and alike else []


def refuse_misfits(found: State, own: State, told: str) -> None:
    """Raise ValueError where names or shapes are not those of the network."""
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    odd = [name for name in found if name not in own]
    sizes = [
        f"{name} {tuple(it.shape)} where the network has {tuple(own[name].shape)}"
        for name, it in found.items()
        if name in own and isinstance(own[name], Tensor) and it.shape != own[name].shape
    ]
    faults = [f"Missing key(s): {named_few(missing)}"] if missing else []
    faults += [f"keys that the network does not have: {named_few(odd)}"] if odd else []
    faults += [f"size mismatch: {named_few(sizes)}"] if sizes else []
    if faults:
        raise ValueError(f"{told}: {'; '.join(faults)}")


def named_few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

"""The help of a stage: its keys, a line each, those that are used most first, as the files of `conf` explain them."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

CONF = Path(__file__).parent / "conf"
LINE = re.compile(r"^( *)([\w.+-]+):(?: +([^#]*?))? *(?:# *(.*))?$")
WORK = ("data", "sigma", "classifier", "train")
CERTIFY = ("method", *WORK[:2], "certify.samples", "certify.alpha", "threat", "certify.paths", *WORK[2:])
FIRST = {
    "run": (*CERTIFY, "data.subset", "seed", "device", "output_root"),
    "train": (*WORK, "train.epochs", "train.learning_rate", "train.batch", "train.start", "train.augment", "seed"),
    "certify": (*CERTIFY, "data.subset", "seed", "shard.count", "shard.index"),
    "report": ("runs", "logs", "threat_at", "figures", "output_root"),
    "audit": ("run", "audit.inputs", "audit.samples", "audit.tolerance", "audit.seed"),
}
"""The keys that are used most, by stage."""
GROUPS = {
    "run": ("data", "classifier", "method", "train", "certify"),
    "train": ("data", "classifier", "train"),
    "certify": ("data", "classifier", "method", "certify"),
    "report": (),
    "audit": ("audit",),
}
"""The groups whose other keys come then."""
CHOICES = ("data", "classifier", "method", "train")


def keys_of(path: Path, prefix: str = "") -> dict[str, tuple[str, str]]:
    """The keys of a file by their dotted names, each with its value and what its comment says; its defaults first."""
    found: dict[str, tuple[str, str]] = {}
    text = path.read_text()
    if "\n  - own\n" in text and path.stem != "own":
        found |= keys_of(path.parent / "own.yaml", prefix)
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        matched = LINE.match(line)
        if matched is None or matched[2] in ("defaults", "hydra", "_target_", "name"):
            continue
        depth = len(matched[1])
        above = [(at, name) for at, name in above if at < depth]
        key = prefix + ".".join([*(name for _, name in above), matched[2]])
        if not matched[3]:
            above.append((depth, matched[2]))
        if matched[3] or matched[4]:
            found[key] = (matched[3] or "", matched[4] or "")
    return found


def chosen(group: str, words: Sequence[str]) -> str:
    """The file of a group that the words choose, else the configuration, and of the network the data."""
    for word in words:
        if word.startswith(f"{group}=") and (CONF / group / f"{word.partition('=')[2]}.yaml").exists():
            return word.partition("=")[2]
    text = (CONF / "config.yaml").read_text()
    if group == "classifier":
        text = (CONF / "data" / f"{chosen('data', words)}.yaml").read_text() + text
    matched = re.search(rf"(?:\b{group}|@_global_\.{group}): (\w+)", text)
    assert matched is not None
    return matched[1]


def known(words: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Every key, under the groups that the words choose, with its value and what it is."""
    found = {}
    for group in ("data", "classifier", "method", "train", "certify", "audit"):
        name = chosen(group, words)
        if group in CHOICES:
            files = sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem not in ("own", "items"))
            found[group] = (name, " | ".join(files))
        found |= keys_of(CONF / group / f"{name}.yaml", f"{group}.")
    found |= {key: it for key, it in keys_of(CONF / "config.yaml").items() if key not in found}
    return found


def told(keys: Sequence[str], found: dict[str, tuple[str, str]], width: int) -> Iterator[str]:
    """The keys, a line each where the terminal is wide enough."""
    column = min(34, width // 2 - 2)
    for key in keys:
        value, meaning = found[key]
        left = f"  {key}={'' if value == '???' else value}"
        if len(left) >= column:
            yield left
            left = ""
        lines = textwrap.wrap(meaning, max(20, width - column - 1)) or [""]
        yield f"{left:{column}} {lines[0]}".rstrip()
        yield from (" " * (column + 1) + line for line in lines[1:])


def stage_help(stage: str, purpose: str, words: Sequence[str]) -> str:
    """The help of a stage, for the groups that the words choose."""
    width, found = shutil.get_terminal_size().columns, known(words)
    first = [key for key in FIRST[stage] if key in found]
    rest = [key for key in found if key not in first and key.startswith(tuple(f"{it}." for it in GROUPS[stage]))]
    lines = [f"usage: rddrs {stage} [KEY=VALUE ...] [--multirun]", *textwrap.wrap(purpose, width), ""]
    lines += ["most used, with their defaults:", *told(first, found, width)]
    if rest:
        lines += ["", "and:", *told(rest, found, width)]
    if stage in ("report", "audit"):
        lines += ["", *textwrap.wrap(f"and those of the run: rddrs run --help. {stage} takes the same words.", width)]
    last = f"several values, KEY=A,B, with --multirun: each; rddrs {stage} --cfg job [KEY=VALUE ...]: every value"
    return "\n".join([*lines, "", *textwrap.wrap(last, width)])

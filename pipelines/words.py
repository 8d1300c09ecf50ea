"""What is typed, before Hydra reads it: values that its grammar does not know, and what a wrong key was meant to be."""

import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

ASSIGNMENT = re.compile(r"(\+{0,2}[\w./@:-]+)=(.*)", re.DOTALL)
MULTIRUN = ("-m", "--multirun")
QUOTED_KEY = re.compile(r"""([{,]\s*)(["'])([^"']*)\2(?=\s*:)""")


def readable(words: Sequence[str]) -> list[str]:
    """The words of a command line; a value that Hydra's grammar does not know stands in quotes, as the text it is.

    Several values of a multirun stay as they are. Options, `--cfg job`, come last, as Hydra takes no words on both
    sides of one. Raises ValueError for a word that is no KEY=VALUE.
    """
    several = any(word in MULTIRUN for word in words)
    found, options, option = [], [], False
    for word in words:
        after, option = option, word.startswith("-") and "=" not in word and word not in MULTIRUN
        if word.startswith("-") or (after and "=" not in word and not word.startswith("~")):
            options.append(word)
        elif parses(word):
            found.append(word)
        elif (matched := ASSIGNMENT.fullmatch(word)) is None:
            raise ValueError(f"{word}: KEY=VALUE is needed")
        elif parses(bare := QUOTED_KEY.sub(r"\1\3", word)):
            raise ValueError(f"{word}: keys of a mapping stand without quotes: write {shlex.quote(bare)}")
        elif not several and '"' not in matched[2] and parses(quoted := f'{matched[1]}="{matched[2]}"'):
            found.append(quoted)
        else:
            how = shlex.quote(f'{matched[1]}="{_escaped(matched[2])}"')
            raise ValueError(f"{word}: the value holds signs that mean something to Hydra: write {how}")
    return found + options


def _escaped(text: str) -> str:
    """A text as it stands between the double quotes of Hydra's grammar: a backslash counts before a quote alone."""
    return re.sub(r'(\\*)("|$)', lambda it: 2 * it[1] + ('\\"' if it[2] else ""), text)


def parses(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def meant(word: str, known: Iterable[str]) -> str:
    """A question: what is known and most like the word; empty where nothing is."""
    by_case = {it.lower(): it for it in known}
    close = get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    return f": {by_case[close[0]]}?" if close else ""


def explained(error: Exception, words: Sequence[str], folder: str) -> str:
    """Hydra's refusal of a command line as one sentence, with what was probably meant."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = error.options or []
        return f"{group}={name}: there is no such {group}{meant(name, options) or ':'} There are {', '.join(options)}"
    text = str(error)
    cause = str(error.__cause__ or "")
    for pattern in (r"Could not override '([^']*)'", r"Key '([^']*)' is not in struct"):
        if found := re.search(pattern, text) or re.search(pattern, cause):
            given = next((word for word in words if word.lstrip("+~").partition("=")[0] == found[1]), found[1])
            return f"{given}: there is no such key{meant(found[1], keys(words, folder))}"
    if found := re.search(r"Ambiguous value for argument '([^']*)'", text):
        key, _, value = found[1].partition("=")
        return f"{found[1]}: write {key}=[{value}] for a list, '{key}=\"{value}\"' for a text, or --multirun for each"
    if text.startswith("Config group override"):
        for word in words:
            group, _, name = word.lstrip("+").partition("=")
            files = sorted(Path(folder, group).glob("*.yaml"))
            if files and name not in (known := [file.stem for file in files]):
                return f"{word}: one of {', '.join(known)} is needed"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def keys(words: Sequence[str], folder: str) -> list[str]:
    """Every key of the configuration, with the groups that are chosen where they can be read."""
    groups = [word for word in words if re.fullmatch(r"\w+=\w+", word)]
    for chosen in (groups, []):
        try:
            with initialize_config_dir(folder, version_base="1.3"):
                values: Any = OmegaConf.to_container(compose("config", chosen))
        except (HydraException, OmegaConfBaseException):
            continue
        return list(flat(values))
    return []


def flat(values: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")

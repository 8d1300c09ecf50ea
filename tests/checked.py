"""Types and shapes that are checked at every call, in the time that it takes.

jaxtyping's own hook binds the arguments of every call and checks them twice, and makes two checks of every function,
also of those that are defined in a call: a fifth to a third of the longest files. Here beartype checks each once.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import isclass, isfunction, isgeneratorfunction
from typing import Any

import jaxtyping

jaxtyped: Any = jaxtyping.jaxtyped


def checked(it: Any = None, *, typechecker: Callable) -> Any:
    """What jaxtyping's hook decorates every function and class with: sizes are remembered through a call."""
    if it is None:
        return partial(checked, typechecker=typechecker)
    if is_dataclass(it) and isclass(it):
        if not hasattr(it.__init__, "__wrapped__"):  # else it is checked: inherited, or written out
            it.__init__ = checked(it.__init__, typechecker=typechecker)
        return it
    if not isfunction(it) or isgeneratorfunction(it):
        return jaxtyped(it, typechecker=typechecker)
    known = {*it.__globals__, *it.__qualname__.split(".")}
    if any(isinstance(hint, str) and hint not in known for hint in it.__annotations__.values()):
        return jaxtyped(it, typechecker=typechecker)  # which believes what it cannot find
    check = typechecker(it)
    if check is it:  # nothing is annotated
        return it

    @wraps(it)
    def called(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return it(*args, **kwargs)
        with jaxtyped("context"):
            return check(*args, **kwargs)

    return called


def install() -> None:
    """From now on; what has been imported before is not checked."""
    jaxtyping.jaxtyped = checked
    jaxtyping.install_import_hook("rddrs", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

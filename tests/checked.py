"""Types and shapes that are checked at every call, in the time that it takes.

jaxtyping's own hook binds the arguments of every call and checks them twice, and makes two checks of every function,
also of those that are defined in a call: that was a fifth of the suite. Here beartype checks each of them once.
"""

from collections.abc import Callable
from functools import partial, wraps
from inspect import isfunction, isgeneratorfunction
from typing import Any

import jaxtyping

jaxtyped = jaxtyping.jaxtyped


def checked(it: Any = None, *, typechecker: Callable) -> Any:
    """What jaxtyping's hook decorates every function and class with: sizes are remembered through a call."""
    if it is None:
        return partial(checked, typechecker=typechecker)
    hints = getattr(it, "__annotations__", {}).values()
    if not isfunction(it) or isgeneratorfunction(it) or any(isinstance(hint, str) for hint in hints):
        return jaxtyped(it, typechecker=typechecker)
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

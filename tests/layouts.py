"""The layouts in memory in which an input of shape [2, 3, 4] may come: each a function of a contiguous one."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

SHAPE = (2, 3, 4)


def row_of_a_table(x: Tensor) -> Tensor:
    """A row of a DataFrame, whose columns lie one after the other."""
    columns = np.stack([x.flatten().numpy(), np.full(x.numel(), 1e3, x.numpy().dtype)], axis=1)
    return torch.from_numpy(pd.DataFrame(dict(enumerate(columns))).to_numpy().copy(order="K")[0])


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.clone,
    "column": lambda x: torch.stack([x.flatten(), x.flatten() + 1e3], dim=1)[:, 0],
    "every second": lambda x: torch.stack([x, x - 1e3], dim=-1)[..., 0],
    "expanded": lambda x: x[:1, :1, :1].expand(SHAPE),
    "expanded rows": lambda x: x[:, :, :1].expand(SHAPE),
    "permuted": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "channels last": lambda x: x[None].contiguous(memory_format=torch.channels_last)[0],
    "reversed in NumPy": lambda x: torch.from_numpy(np.ascontiguousarray(x.numpy()[::-1])),
    "part of a larger one": lambda x: torch.nn.functional.pad(x, (1, 2, 3, 4), value=1e3)[:, 3:-4, 1:-2],
    "row of a table": row_of_a_table,
}

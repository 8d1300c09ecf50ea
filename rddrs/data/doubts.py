"""What looks wrong with the range of inputs, before anything is computed with them."""

from jaxtyping import Float
from torch import Tensor


def doubts(
    train: Float[Tensor, "m *shape"], test: Float[Tensor, "n *shape"], sigma: float, binary: bool = False
) -> list[str]:
    """What a person should know of the range of some training and some test inputs, under noise of that sigma.

    `binary` says that two values are meant. Raises ValueError where the parts cannot be of one scaling: their standard
    deviations differ by more than twenty.
    """
    (low, high), (least, most) = ((part.min().item(), part.max().item()) for part in (train, test))
    told = f"training inputs go from {low:g} to {high:g}, test inputs from {least:g} to {most:g}"
    spreads = [part.double().std(correction=0).item() for part in (train, test)]
    ratio = max(spreads) / min(spreads) if min(spreads) > 0 else 1.0
    if len(test) >= 4 and ratio > 20:
        raise ValueError(f"data: {told}: they must be scaled alike")
    found = []
    shift = abs(train.double().mean().item() - test.double().mean().item())
    if len(test) >= 10 and (ratio > 1.8 or shift > max(spreads)):
        found.append(f"{told}, which does not look as if they were scaled alike")
    if len(train) > 1 and (train == train[0]).all():
        return [*found, f"all training inputs are the same, from {low:g} to {high:g}: there is nothing to learn"]
    if not binary and ((train == low) | (train == high)).all():
        found.append(f"the inputs hold two values alone, {low:g} and {high:g}: is that all that their files hold?")
    if high - low > 100 * sigma:
        found.append(
            f"the inputs go from {low:g} to {high:g}: sigma={sigma:g} is far too small for them; "
            "bring them to [0, 1] (8-bit numbers are, as uint8), or raise sigma"
        )
    if sigma > 4 * (high - low):
        found.append(
            f"the inputs go from {low:g} to {high:g}: sigma={sigma:g} is far too large for them; "
            "were they divided twice, or by the range of more bits than they have? Bring them to [0, 1], or lower sigma"
        )
    return found

"""How many steps a cell takes, its learning rate at each, and the seed of each step."""

import hashlib
import math

from ecgscale.training.settings import TrainingConfig


def total_steps(config: TrainingConfig, n_records: int) -> int:
    """Return the optimizer steps of a cell.

    Parameters
    ----------
    config
        Regime ``fixed_steps`` takes `config.steps` whatever the size; ``fixed_epochs`` takes
        ``ceil(epochs * n_records / batch_size)``.
    n_records
        Records trained on.

    Examples
    --------
    >>> total_steps(TrainingConfig(regime="fixed_epochs", epochs=3, batch_size=64), 1000)
    47
    """
    if config.regime == "fixed_steps":
        return config.steps
    return math.ceil(config.epochs * n_records / config.batch_size)


def learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then a half cosine.

    With ``w = round(warmup_fraction * steps)`` warm-up steps and the floor
    ``f = min_lr_fraction * lr``, step ``t`` (from 0) takes ``lr * (t + 1) / w`` while ``t < w``,
    and ``f + (lr - f) * (1 + cos(pi * (t - w) / (steps - w))) / 2`` after (Loshchilov & Hutter,
    SGDR, arXiv 1608.03983, one cycle). A function of the step alone, so a resumed run has nothing
    to restore.
    """
    warmup = round(config.warmup_fraction * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    floor = config.min_lr_fraction * config.lr
    progress = (step - warmup) / (steps - warmup)
    return floor + (config.lr - floor) * (1 + math.cos(math.pi * progress)) / 2


def derived_seed(*parts: str | int) -> int:
    """Return a 63-bit seed that depends on every part.

    Each use of randomness (weights, batches, the augmentation of step 17) has its own stream, a
    function of the cell's seed and of what it is for; none depends on what was drawn before.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1

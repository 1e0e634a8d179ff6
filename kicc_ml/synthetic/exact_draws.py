"""Random draws that meet a total exactly and otherwise follow the model; cases are never ranked."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

_WIDE = 60.0  # log odds beyond which a probability is 0 or 1 in double precision


def fit_intercept(logit: np.ndarray, total: float, weight: np.ndarray | float = 1.0) -> float:
    """Fit the shift of all ``logit`` with which weight x probability adds up to ``total``; it may be infinite."""
    if total <= 0:
        return -np.inf
    if total >= np.broadcast_to(weight, logit.shape).sum():
        return np.inf
    low, high = -_WIDE - float(logit.max()), _WIDE - float(logit.min())
    return float(brentq(lambda shift: (weight * expit(logit + shift)).sum() - total, low, high))


def draw_given_total(rng: np.random.Generator, logit: np.ndarray, total: int) -> np.ndarray:
    """Draw which of n independent events happened, shape (n,) bool, given that exactly ``total`` happened.

    Independent draws are repeated until they add up to the total; what is kept follows the conditional
    Bernoulli distribution exactly (Chen SX, Liu JS, Statistica Sinica 1997;7:875): only odds ratios matter.
    The probabilities are shifted to expect the total, so that about 2.5 sd of the sum are tries enough.
    """
    if total > logit.size or total < 0:
        raise ValueError(f"{total} events among {logit.size} candidates")
    probability = expit(logit + fit_intercept(logit, total))
    while True:
        drawn = rng.random(logit.size) < probability
        if drawn.sum() == total:
            return drawn


def draw_by_site(rng: np.random.Generator, logit: np.ndarray, site: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Draw events like :func:`draw_given_total`, with a total per hospital; ``site`` (n,) indexes ``totals``."""
    drawn = np.zeros(logit.size, dtype=bool)
    for index, total in enumerate(totals):
        members = np.flatnonzero(site == index)
        drawn[members] = draw_given_total(rng, logit[members], int(total))
    return drawn


def share_out(
    rng: np.random.Generator, total: int, weight: np.ndarray, least: np.ndarray, most: np.ndarray
) -> np.ndarray:
    """Divide ``total`` at random in proportion to ``weight``, each part within [least, most].

    Raises ValueError where the bounds leave no room.
    """
    if not least.sum() <= total <= most.sum():
        raise ValueError(f"{total} cannot be divided between {least.sum()} and {most.sum()}")
    parts = least.astype(int).copy()
    while (left := total - parts.sum()) > 0:
        room = np.where(parts < most, weight, 0.0)
        parts = np.minimum(parts + rng.multinomial(left, room / room.sum()), most)
    return parts


def draw_integers(rng: np.random.Generator, values: np.ndarray, total: int, low: int, high: int) -> np.ndarray:
    """Change random integer ``values`` by one step at a time, within [low, high], until their sum is ``total``."""
    values = values.copy()
    while missing := total - int(values.sum()):
        step = int(np.sign(missing))
        free = np.flatnonzero((values + step >= low) & (values + step <= high))
        if not free.size:
            raise ValueError(f"{values.size} numbers in {low}-{high} cannot add up to {total}")
        values[rng.permutation(free)[: abs(missing)]] += step
    return values

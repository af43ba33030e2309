"""At which epochs snapshots are taken."""

from __future__ import annotations


def log_spaced(epochs: int) -> tuple[int, ...]:
    """Return epoch 0, the powers of two, and the last.

    >>> log_spaced(10)
    (0, 1, 2, 4, 8, 10)
    """
    powers = (2**k for k in range(epochs.bit_length()))
    return (0, *sorted({*powers, epochs}))


def scheduled(schedule: str | tuple[int, ...], epochs: int) -> tuple[int, ...]:
    """Return the epochs of a schedule: `log`, `all`, or a list; -1 in a list is the last.

    >>> scheduled((0, -1), 20), scheduled("all", 2)
    ((0, 20), (0, 1, 2))
    """
    if schedule == "log":
        return log_spaced(epochs)
    if isinstance(schedule, str):
        return tuple(range(epochs + 1))
    wanted = {epochs + 1 + epoch if epoch < 0 else epoch for epoch in schedule}
    return tuple(sorted(wanted & set(range(epochs + 1))))

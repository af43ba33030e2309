"""The 8×8 handwritten digits that come with scikit-learn: 1,797 samples, no download."""

from __future__ import annotations

from cmp_core.config.schema import Config
from cmp_core.data.raw import Images, RawData
from cmp_core.events.hookspecs import Register, hookimpl


def load_digits(config: Config) -> RawData:
    """Return the digits; a fixed fifth of them is the test split."""
    from sklearn import datasets

    digits = datasets.load_digits()
    return RawData(
        train=Images(digits.images[:, None].astype("uint8"), digits.target),
        test=None,
        class_names=tuple(str(name) for name in digits.target_names),
        mean=None,
        std=None,
    )


@hookimpl
def cmp_register_datasets(register: Register) -> None:
    """Register the dataset."""
    register(load_digits, name="digits")

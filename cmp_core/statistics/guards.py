"""Tensors that plugins may read but not write, and how a write is found."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen(eq=False)
class Guarded:
    """A tensor, its version when it was handed out, and a copy for a comparison of values."""

    what: str
    tensor: Tensor
    version: int
    original: Tensor | None = None

    def is_modified(self) -> bool:
        """Return whether the tensor was written to, see `Guards.modified`."""
        if _version(self.tensor) != self.version:
            return True
        return self.original is not None and not _is_same(self.tensor, self.original)


class Guards:
    """The tensors of an event or of its statistics that were handed out so far."""

    def __init__(self) -> None:
        self.guarded: list[Guarded] = []
        self._keeps_copies = False

    def add(self, what: str, tensor: Tensor, original: Tensor | None = None) -> None:
        """Guard a tensor.

        Args:
            what: its name in the error about a write.
            tensor: as it is handed out.
            original: one of the same values that nobody else has; otherwise a copy is made, if
                copies are kept.
        """
        if original is None and self._keeps_copies:
            original = tensor.clone()
        self.guarded.append(Guarded(what, tensor, _version(tensor), original))

    def keep_copies(self, originals: Guards | None = None) -> None:
        """Keep a copy of each tensor from now on, for `modified`.

        Args:
            originals: guards of tensors of the same values that nobody else has, in the same order.
        """
        if self._keeps_copies:
            return
        self._keeps_copies = True
        known, self.guarded = self.guarded, []
        for i, guard in enumerate(known):
            original = None if originals is None else originals.guarded[i].tensor
            self.add(guard.what, guard.tensor, original)

    def drop_copies(self) -> None:
        """Keep none any longer."""
        self._keeps_copies = False
        self.guarded = [attrs.evolve(guard, original=None) for guard in self.guarded]

    def modified(self) -> str | None:
        """Return the name of a tensor that was written to, or none.

        PyTorch's version counters do not see writes through a NumPy view or `tensor.data`; where
        copies are kept, values are compared too.
        """
        for guard in self.guarded:
            if guard.is_modified():
                return guard.what
        return None


def _version(tensor: Tensor) -> int:
    """Return how often a tensor was written to; of one made in inference mode nothing counts it."""
    return 0 if tensor.is_inference() else tensor._version


def _is_same(tensor: Tensor, original: Tensor) -> bool:
    """Return whether two tensors are alike to the last bit, NaN included."""
    if (tensor.shape, tensor.dtype, tensor.device) != (
        original.shape,
        original.dtype,
        original.device,
    ):
        return False
    needed = tensor.numel() * tensor.element_size()
    if tensor.untyped_storage().nbytes() < needed:  # its memory was given back
        return False
    if tensor.is_complex():
        tensor, original = torch.view_as_real(tensor), torch.view_as_real(original)
    size = tensor.element_size()
    odd = tensor.numel() * size | tensor.storage_offset() * size | original.storage_offset() * size
    if odd % 8 == 0 and tensor.is_contiguous() and original.is_contiguous():
        # Numbers of 8 bytes take half as long to compare as twice as many of 4.
        return torch.equal(tensor.view(-1).view(torch.int64), original.view(-1).view(torch.int64))
    return torch.equal(tensor.view(_WHOLE_NUMBERS[size]), original.view(_WHOLE_NUMBERS[size]))


_WHOLE_NUMBERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

"""Calls of code of a user's own, each held to what it must return and must leave alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.blame import blaming, name_of
from btgm_cli.core.contracts import Summed
from btgm_cli.core.errors import SettingError

N = 64
"""Draws tried."""

OTHER_SIZES = (7, 1)
"""Batches that are tried beside."""

REPEATED = 1e-5
"""Of the spread of values: what asking again may change, where a device adds in any order."""

REBATCHED = 1e-2
"""The same for another batch size, where a device may take another algorithm."""

ROUNDING = 1e-5
"""Of a value itself, in either case."""


@dataclass(frozen=True)
class Trial:
    """One function of a user's, of a batch of tensors.

    Args:
        setting: that names its owner.
        owner: the model or the criterion.
        what: the function's name.
        of: the name of its argument.
        call: the function.
    """

    setting: str
    owner: object
    what: str
    of: str
    call: Callable[[Tensor], Tensor]

    def run(self, batch: Tensor, *, vector: bool = True) -> Tensor:
        """What the function gives for a batch (n, …): one value, or one x, for each entry.

        It is asked twice, and for parts of the batch, and must answer alike.

        Args:
            batch: its argument.
            vector: must it give floats of shape (n,)?

        Raises:
            SettingError: it fails, returns anything else, or changes its argument.
        """
        found = self._once(batch, vector=vector)
        again = self._once(batch, vector=vector)
        if not _alike(found, again, REPEATED):
            raise self.refusal(f"gives other values when asked twice for the same {self.of}")
        for n in OTHER_SIZES:
            part = self._once(batch[:n], vector=vector)
            if not _alike(found[:n], part, REBATCHED, found):
                text = f"gives other values for the same {self.of} in a batch of {n}"
                raise self.refusal(f"{text}: each must depend on its own {self.of} alone")
        return found

    def refusal(self, fault: str) -> SettingError:
        """The error that says what is wrong with the function."""
        return SettingError(self.setting, name_of(self.owner), f"{self.what} {fault}")

    def _once(self, batch: Tensor, *, vector: bool) -> Tensor:
        given = batch.clone()
        with blaming(self.setting, name_of(self.owner), f"{self.what} {self._on(batch)}"):
            found = self.call(given)
        if not torch.equal(given, batch):
            raise self.refusal(f"changes the {self.of} that it is given; it must leave it alone")
        return self.checked(found, batch, vector=vector)

    def checked(self, found: object, batch: Tensor, *, vector: bool = True) -> Tensor:
        """What was found for a batch, if it is floats of the right shape in the right place."""
        n = len(batch)
        wanted = f"({n},)" if vector else f"({n}, …)"
        if not isinstance(found, Tensor):
            raise self.refusal(f"must return a tensor of shape {wanted}, not {_kind(found)}")
        fits = found.shape == (n,) if vector else found.dim() > 0 and len(found) == n
        if not fits or (vector and not found.is_floating_point()):
            got = f"{tuple(found.shape)} {found.dtype}"
            shape = f"floats of shape (n,) = {wanted}" if vector else f"shape (n, …) = {wanted}"
            raise self.refusal(f"must return {shape}, not {got}")
        if found.device != batch.device:
            text = f"must return a tensor on {batch.device}, where its argument is"
            raise self.refusal(f"{text}, not on {found.device}")
        bad = (~torch.isfinite(found)).reshape(n, -1).any(1).double().mean().item()
        if bad:
            raise self.refusal(f"is not finite for {bad:.1%} of draws")
        return found

    def _on(self, batch: Tensor) -> str:
        return f"fails on {self.of} of shape {tuple(batch.shape)}"


def leaves(criterion: object, setting: str = "criterion") -> Iterator[tuple[str, object]]:
    """The criteria that a criterion is made of, with the settings that name them."""
    parts: dict[str, object] = {}
    if isinstance(criterion, Summed):
        parts = {f"terms.{name}": term for name, term in criterion.terms.items()}
    elif callable(getattr(criterion, "of", None)):
        parts = {"of": getattr(criterion, "of", None)}
    if not parts:
        yield setting, criterion
    for name, part in parts.items():
        yield from leaves(part, f"{setting}.{name}")


def _alike(first: Tensor, second: Tensor, share: float, whole: Tensor | None = None) -> bool:
    """Do they differ by no more than a share of the spread of the values?"""
    if first.shape != second.shape:
        return False
    values = (first if whole is None else whole).double()
    spread = (values.max() - values.min()).item() if values.numel() else 0.0
    return torch.allclose(first.double(), second.double(), rtol=ROUNDING, atol=share * spread)


def _kind(found: object) -> str:
    return "None" if found is None else type(found).__name__

"""What the paper's figures of tuned models show, and the numbers that it prints with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

GRADIENTS = "fig1"
"""The figure that needs no tuned model."""

DRAWS, QUICK_DRAWS = 1000, 50
"""Samples at each β behind the class shares."""

QUICK = (
    "tuning.first_steps=10",
    "tuning.steps=5",
    "tuning.acceptance=1",
    "tuning.n_eval=200",
    "tuning.n_reference=1000",
    "tuning.n_particles=200",
)
"""Settings that make a run take seconds, and its numbers mean nothing."""


@dataclass(frozen=True)
class Recipe:
    """A figure of tuned models; its runs are `btgm run experiment=NAME`.

    Args:
        name: of the figure, and of its YAML in `conf/experiment/`.
        quick_betas: the path of the quick mode.
        tunings: options of the group `tuning`, a run for each.
        kl: the paper's KL(q‖p) in nats at each of its β; empty where it prints none.
    """

    name: str
    quick_betas: Sequence[float]
    tunings: Sequence[str] = ("default",)
    kl: dict[float, float] = field(default_factory=dict)

    def overrides(self, tuning: str, *, quick: bool) -> list[str]:
        """What `btgm run` is asked for."""
        betas = ",".join(map(repr, self.quick_betas))
        return [
            f"experiment={self.name}",
            f"tuning={tuning}",
            *([*QUICK, f"target.betas=[{betas}]"] if quick else []),
        ]


BOTH = ("paper", "default")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fig3", (0, 2, 6), tunings=BOTH),
        Recipe("fig4", (0, 0.25, 0.75), tunings=BOTH),
        Recipe(
            "fig5",
            (0, 0.25, 0.75),
            kl={0.0: 0.0, 0.25: 0.4, 0.5: 1.3, 0.75: 2.2, 1.0: 2.5, 1.25: 2.7},
        ),
        Recipe(
            "fig6",
            (0, 0.025, 0.05),
            kl={0.0: 0.0, 0.025: 0.3, 0.05: 2.1, 0.075: 3.9, 0.1: 5.4, 0.125: 7.4, 0.15: 8.7},
        ),
        Recipe(
            "fig7",
            (0, 0.05, 0.1),
            kl={0.0: 0.0, 0.025: 0.2, 0.05: 0.6, 0.075: 1.1, 0.1: 1.4, 0.125: 1.8, 0.15: 2.1},
        ),
    )
}

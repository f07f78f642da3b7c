"""What the paper's figures of load curves show."""

from __future__ import annotations

from dataclasses import dataclass

from btgm_cli.domains.digits.figures.recipes import QUICK


@dataclass(frozen=True)
class WeeksRecipe:
    """A figure of load curves; its runs are `btgm run experiment=NAME_CRITERION`.

    Args:
        name: of the figure.
        criteria: a run for each, in the order of the panels, and what the paper calls it.
        samples: are real and generated curves shown beside the bands?
    """

    name: str
    criteria: dict[str, str]
    samples: bool = False

    def overrides(self, criterion: str, *, quick: bool) -> list[str]:
        """What `btgm run` is asked for."""
        experiment = f"experiment={self.name}_{criterion}"
        return [experiment, *([*QUICK, "target.rho=null", "target.betas=[0,0.05]"] * quick)]


WEEKS = {
    recipe.name: recipe
    for recipe in (
        WeeksRecipe(
            "fig2",
            {
                "peak": "largest power of the week, top 1 %",
                "wednesday_excess": "Wednesday above the week, top 1 %",
            },
            samples=True,
        ),
        WeeksRecipe(
            "fig8",
            {
                "wednesday_mean": "Wednesday's mean, top 0.01 %",
                "wednesday_excess": "Wednesday above the week, top 0.01 %",
            },
        ),
        WeeksRecipe(
            "fig9",
            {
                "unevenness": "distance to the flat curve, largest 1 %",
                "evenness": "distance to the flat curve, smallest 1 %",
            },
        ),
    )
}

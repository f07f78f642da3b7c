"""Does the ranking before tuning predict how well tuning ends? 14 criteria, equal budgets.

    python experiments/ranking/check.py [FOLDER]

`btgm rank` looks at draws of p alone. Then each criterion is tuned by a flow alone to 1 nat, the
same number of steps for all, and the gap to the exact tilt is set against each figure of the
ranking by Spearman's correlation. A run that is finished is not made again.
"""

import sys
from pathlib import Path

import pandas as pd

from btgm_cli.cli import main
from btgm_cli.runs import read_run

CRITERIA = [
    *(f"{kind}{digit}" for digit in (0, 1, 4, 8, 9) for kind in ("class", "log_class")),
    "entropy",
    "second_class",
    "log_odds",
    "white",
    "black",
]
BUDGET = ["tuning=paper", "tuning.first_steps=600"]
SCORES = ["difficulty", "norm_median", "norm_p99", "norm_max", "plateau", "tail_ratio", "slope"]


def measure(folder: Path) -> pd.DataFrame:
    """A row for each criterion: its figures before tuning, and the gap after."""
    if not (folder / "rank" / "ranking.csv").is_file():
        main(["rank", f"criteria=[{','.join(CRITERIA)}]", f"out={folder / 'rank'}"])
    ranking = pd.read_csv(folder / "rank" / "ranking.csv")
    # Of the draws, the share that carries the mean slope: small where f is flat with cliffs.
    rows = []
    for row in ranking.to_dict("records"):
        path = folder / row["criterion"]
        if not (path / "summary.json").is_file():
            tilt = [f"criterion={row['criterion']}", f"target.betas=[{row['beta']}]"]
            main(["run", *tilt, *BUDGET, f"hydra.run.dir={path}"])
        point = read_run(path).pareto.iloc[-1]
        figures = {name: point[name] for name in ("kl_ref", "kl_gap", "kl_gap_se", "ess_fraction")}
        rows.append(row | figures)
        pd.DataFrame(rows).to_csv(folder / "check.csv", index=False)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/ranking")
    table = measure(folder)
    print(table.sort_values("kl_gap").to_string(float_format="%.3g"))
    for score in [name for name in SCORES if name in table]:
        print(f"{score:12} {table[score].corr(table['kl_gap'], method='spearman'):.2f}")

"""The paper's figures from finished runs: tables, class shares, load curves, pictures."""

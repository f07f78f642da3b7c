"""The paper's MNIST figures from finished runs: tables, class shares, pictures."""

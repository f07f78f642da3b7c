"""The paper's figures of digits, from finished runs."""

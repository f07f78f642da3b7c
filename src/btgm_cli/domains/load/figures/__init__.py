"""The paper's figures of load curves, from finished runs and real weeks."""

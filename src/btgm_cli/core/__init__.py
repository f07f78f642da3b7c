"""The nouns of a run: contracts, results, targets, errors. Imports no other room."""

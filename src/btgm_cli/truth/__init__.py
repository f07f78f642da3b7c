"""The exact tilt as well as it is known, and what a tuned model is worth beside it."""

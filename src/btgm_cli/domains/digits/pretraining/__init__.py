"""The trainings of the digits' networks, and their gates."""

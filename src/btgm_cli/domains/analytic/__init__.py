"""A Gaussian under criteria whose tilts are known in closed form: the oracle of the tests."""

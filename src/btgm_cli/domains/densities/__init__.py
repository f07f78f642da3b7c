"""Models with an explicit density, and energies: tuning in instance space (§3.2 of the paper).

Where x is a bijection of z ~ N(0, I) the density of any x is known. With f = −u(x)/T − log p(x)
the tilt at β = 1 is the Boltzmann distribution of the energy u at the temperature T, whatever p is
(Noé, Olsson, Köhler & Wu, *Boltzmann Generators*, Science 365, 2019).
"""

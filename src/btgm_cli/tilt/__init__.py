"""Pure maths of the tilt: estimates from draws, the search for β, multipliers."""

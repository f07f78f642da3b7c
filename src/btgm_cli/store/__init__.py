"""Files: checkpoints, the run directory, its journal."""

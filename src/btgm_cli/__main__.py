"""`python -m btgm_cli` is `btgm`: the working directory comes last on the module path."""

import sys

# Python puts it first, where a user's `scipy.py` would be taken for the library. Under -P it is
# not there.
if not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

from btgm_cli.cli import main

sys.exit(main())

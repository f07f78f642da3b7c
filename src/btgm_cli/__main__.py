"""`python -m btgm_cli` is `btgm`."""

import sys

from btgm_cli.cli import main

sys.exit(main())

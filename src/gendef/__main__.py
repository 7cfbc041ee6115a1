"""`python -m gendef`: the program, for where its script is not on the path (torchrun, other environments)."""

import sys

from gendef.cli.main import main

sys.exit(main())

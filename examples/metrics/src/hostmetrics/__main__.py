"""`python -m hostmetrics`."""

import sys

from hostmetrics.cli import main

sys.exit(main())

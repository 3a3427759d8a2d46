"""`python -m gentool` is `gentool`."""

import sys

from gentool.cli import main

if __name__ == "__main__":
    sys.exit(main())

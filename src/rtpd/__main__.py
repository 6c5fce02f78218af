"""`python -m rtpd`, the same as the command `rtpd`."""

import sys

from rtpd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

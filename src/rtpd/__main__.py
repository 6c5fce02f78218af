"""`python -m rtpd`, the same as the command `rtpd`."""

from rtpd.cli import main

if __name__ == "__main__":
    main()

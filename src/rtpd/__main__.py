"""`python -m rtpd`, the same as the command `rtpd`. Floor 6."""

from rtpd.cli import main

if __name__ == "__main__":
    main()

"""Tables of this package: what is known of games without an emulator."""

import csv
from importlib.resources import files


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a CSV file of this package by column name; lines that begin with # are notes."""
    lines = files("rtpd.envs").joinpath(name).read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))

"""Zip archives of unknown origin: members go into memory under a limit, and never to disk."""

import io
import zipfile

from rtpd.errors import CheckpointError

MOST_BYTES = 2**30  # of an archive, and of all that it says it holds
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive:
    """The members of a zip by their names; `source` stands in every message.

    Sizes are those that the archive declares; they are added up before anything is unpacked, and
    no member can give more than its own.
    """

    def __init__(self, data: bytes, source: str) -> None:
        """Read the list of members; CheckpointError if there is none or it claims too much."""
        self.source = source
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except Exception as error:  # zipfile raises a dozen kinds on damaged lists
            raise CheckpointError(f"{source} is no zip, or is damaged: {why(error)}") from None
        self.names = frozenset(self._zip.namelist())
        size = sum(member.file_size for member in self._zip.infolist())
        if size > MOST_BYTES:
            raise CheckpointError(
                f"{source} would unpack to {size:,} bytes: allowed: {MOST_BYTES:,}"
            )

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """A member of at most `most` bytes; CheckpointError if it is absent or damaged."""
        if name not in self.names:
            raise CheckpointError(f"{self.source} holds no {name!r}")
        member = self._zip.getinfo(name)
        if member.file_size > most:
            raise CheckpointError(
                f"{self.source}: {name!r} has {member.file_size:,} bytes: allowed: {most:,}"
            )
        if member.compress_type not in _METHODS:  # others unpack without a bound
            raise CheckpointError(
                f"{self.source}: {name!r} is packed with method {member.compress_type}: "
                "allowed: stored, deflated"
            )
        try:
            with self._zip.open(member) as file:
                data = file.read(member.file_size)
            if len(data) != member.file_size:
                raise EOFError(f"{len(data):,} of {member.file_size:,} bytes are there")
        except Exception as error:
            raise CheckpointError(f"{self.source}: {name!r} is damaged: {why(error)}") from None
        return data


def why(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__

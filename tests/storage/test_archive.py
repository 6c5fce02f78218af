"""Zips from anywhere: what they hold comes back, or one line says why not; nothing is written."""

import io
import struct
import tracemalloc
import zipfile

import pytest

from rtpd.errors import CheckpointError, RequestError
from rtpd.storage.archive import MOST_BYTES, Archive
from rtpd.storage.files import contents


def packed(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def claiming(data, size):
    """The archive with another unpacked size of its first member, in both of its lists."""
    data, listed = bytearray(data), data.index(b"PK\1\2")
    struct.pack_into("<I", data, listed + 24, size)
    struct.pack_into("<I", data, 22, size)
    return bytes(data)


def assert_refused(said, data, name="a"):
    with pytest.raises(CheckpointError, match=said) as error:
        Archive(data, "x.zip").read(name)
    assert str(error.value).startswith("x.zip") and "\n" not in str(error.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_back(method):
    members = {"a": b"1" * 10_000, "b/c": b"", "../d": b"2"}
    archive = Archive(packed(members, method), "x.zip")
    assert archive.names == members.keys()
    assert {name: archive.read(name) for name in members} == members


def test_what_is_absent_or_too_long_is_named():
    data = packed({"a": b"12345"})
    assert_refused("holds no 'b'", data, "b")
    assert_refused(r"holds no 'b\\n\\x1b'", data, "b\n\x1b")
    assert Archive(data, "x.zip").read("a", 5) == b"12345"
    with pytest.raises(CheckpointError, match="'a' has 5 bytes: allowed: 4"):
        Archive(data, "x.zip").read("a", 4)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"no zip at all", packed({"a": b"1"})[:-1]],
    ids=["nothing", "two bytes", "text", "cut short"],  # a zip holds the time at which it was made
)
def test_what_is_no_zip_is_refused(data):
    assert_refused("is no zip, or is damaged", data)


def test_an_archive_that_claims_too_much_is_refused_before_it_is_unpacked():
    assert_refused(
        "would unpack to 2,147,483,647 bytes: allowed: ", claiming(packed({"a": b"1"}), 2**31 - 1)
    )
    half = MOST_BYTES // 2 + 1
    first, second = claiming(packed({"a": b"1"}), half), packed({"a": b"1"} | {"b": b"1"})
    at = second.index(b"PK\1\2")
    for listed in (at, second.index(b"PK\1\2", at + 1)):
        second = second[: listed + 24] + struct.pack("<I", half) + second[listed + 28 :]
    assert_refused(f"would unpack to {2 * half:,} bytes", second)
    assert_refused("'a' is damaged", first)


def test_a_member_that_holds_more_than_it_claims_takes_no_memory():
    data = claiming(packed({"a": bytes(10**8)}), 10)
    tracemalloc.start()
    assert_refused("'a' is damaged", data)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound_are_refused(method):
    assert_refused(f"method {method}: allowed: stored, deflated", packed({"a": b"1"}, method))


def test_an_encrypted_member_is_refused():
    data = bytearray(packed({"a": b"1"}))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    assert_refused("'a' is damaged: .*encrypted", bytes(data))


def test_a_file_is_read_if_it_is_one_and_not_too_large(tmp_path):
    path = tmp_path / "x.zip"
    with pytest.raises(RequestError, match=r"there is no file '.*x\.zip'"):
        contents(path)
    with pytest.raises(RequestError, match="there is no file"):
        contents(tmp_path)
    path.write_bytes(b"123")
    assert contents(path) == b"123"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # a sparse file
    with pytest.raises(CheckpointError, match=r"x\.zip has 1,073,741,825 bytes: allowed: "):
        contents(path)

"""Tensors come out of PyTorch's files as PyTorch put them in, and nothing in a file is ever run."""

import io
import os
import pickle
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtpd.agents.formats import torch_file
from rtpd.errors import CheckpointError

DATA = Path(__file__).parents[2] / "data"
SAVED = (DATA / "torch-tensors.pth").read_bytes()  # by scripts/make_sb3_fixtures.py


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def changed(**replaced):
    """The saved file with other members; `data.pkl` is written data_pkl here."""
    new = {f"{FOLDER}/{name.replace('_', '.')}": data for name, data in replaced.items()}
    return packed(members(SAVED) | new)


FOLDER = "torch-tensors"  # torch.save calls it after the file
PICKLE = members(SAVED)[f"{FOLDER}/data.pkl"]


def assert_refused(said, data):
    with pytest.raises(CheckpointError, match=said) as error:
        torch_file.state_dict(data, "policy.pth")
    assert str(error.value).startswith("policy.pth") and "\n" not in str(error.value)


def test_tensors_are_those_that_torch_saved():
    found, expected = torch_file.state_dict(SAVED, "x"), np.load(DATA / "torch-tensors.npz")
    assert list(found) == list(expected)
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], strict=True)


def test_the_tests_own_writer_writes_what_is_read(saved_by_torch):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.c": np.ones(1, np.float32)}
    found = torch_file.state_dict(saved_by_torch(arrays), "x")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


class Weapon:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"echo > '{self.mark}'",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_named_and_not_run(protocol, tmp_path):
    mark = tmp_path / "mark"
    weapon = pickle.dumps(Weapon(mark), protocol)
    assert_refused(r"asks for '(posix|nt)\.system', which is not run", changed(data_pkl=weapon))
    assert not mark.exists()
    pickle.loads(weapon)
    assert mark.exists(), "the weapon was never loaded"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"ctorch\nBFloat16Storage\n.", r"asks for 'torch\.BFloat16Storage'"),
        (b"ctorch._utils\n_rebuild_parameter\n.", r"asks for 'torch\._utils\._rebuild_parameter'"),
        (b"cbuiltins\neval\n.", r"asks for 'builtins\.eval'"),
        (b"cx\x1b\ny\n.", r"asks for 'x\\x1b\.y'"),
        (b"c\\q\ny\n.", r"asks for '\\\\q\.y'"),
        (b"\x8c\x02os\x8c\x06system\x93.", r"asks for 'os\.system'"),
        (b"ios\nsystem\n.", "asks for pickle instruction INST"),
        (b"\x82\x01.", "asks for pickle instruction EXT1"),
        (b"].", "asks for pickle instruction EMPTY_LIST"),
        (b"N.", "is no dict of tensors"),
        (b"}X\x01\x00\x00\x00aK\x01s.", "is no dict of tensors"),
        (b"}X\x01\x00\x00\x00a", "is damaged: pickle exhausted"),
        (b"", "is damaged: pickle exhausted"),
        (b".", "is damaged: pop from empty list"),
        (b"h\x07.", "is damaged: 7"),
        (b"}K\x01Ns.", "is damaged: a dict is damaged"),
        (b"}(X\x01\x00\x00\x00au.", "is damaged"),
        (b"X\x01\x00\x00\x00a)R.", "is damaged: it calls 'a'"),
        (b"))R.", "is damaged: it calls what is no name"),
        (b"ccollections\nOrderedDict\nN\x85R.", r"is damaged: it calls 'collections\.OrderedDict'"),
        (b"NQ.", "is damaged"),
        (b"(NNNNNtQ.", "is damaged: a storage is damaged"),
    ],
)
def test_what_no_state_dict_holds_is_refused(code, said):
    assert_refused(said, changed(data_pkl=b"\x80\x02" + code))


def test_deep_tuples_do_not_end_the_process():
    """Python hashes and prints them by recursion."""
    deep = b")" + b"\x85" * 100_000
    for code in (b"}" + deep + b"Ns.", deep + b"Q.", b"(X\7\0\0\0storage" + deep * 2 + b"NNtQ."):
        assert_refused("is damaged", changed(data_pkl=b"\x80\x02" + code))
    assert_refused("is damaged", changed(data_pkl=b"\x80\x02" + deep + deep + b"\x93."))
    assert_refused("has 300,003 bytes: allowed: 262,144", changed(data_pkl=deep * 3))


def tensor(offset=0, size=(4, 6), stride=(6, 1), count=24, kind="Float"):
    """The pickle of one tensor on storage 0 of the saved file, which has 24 floats."""

    def text(value):
        return pickle.dumps(value, 2)[2:-1].replace(b"q\x00", b"")

    storage = b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text("0")
    storage += text("cpu") + text(count) + b"tQ"
    rest = b"".join(b"(" + b"".join(map(text, part)) + b"t" for part in (size, stride))
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + text(offset) + rest + b"\x89NtR"
    return b"\x80\x02}" + text("a") + made + b"s."


def test_a_tensor_may_be_any_part_of_its_storage():
    found = torch_file.state_dict(changed(data_pkl=tensor(5, (3, 2), (6, 3))), "x")["a"]
    np.testing.assert_array_equal(found, [[5, 8], [11, 14], [17, 20]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"offset": 1}, "is damaged"),
        ({"offset": -1}, "is damaged"),
        ({"offset": 2**31 - 1}, "is damaged"),
        ({"size": (5, 6)}, "is damaged"),
        ({"size": (-4, 6)}, "is damaged"),
        ({"size": (4,)}, "is damaged"),
        ({"size": ("4", 6)}, "is damaged"),
        ({"size": (1,) * 100, "stride": (1,) * 100}, "is damaged"),
        ({"stride": (7, 1)}, "is damaged"),
        ({"stride": (-6, 1)}, "is damaged"),
        ({"stride": (2**31 - 1, 2**31 - 1)}, "is damaged"),
        ({"size": (1000, 1000), "stride": (0, 0)}, "1,000,000 numbers in a storage of 24"),
        ({"size": (2**31 - 1,) * 9, "stride": (0,) * 9}, "is damaged"),
        ({"count": 23}, "storage '0' has 96 bytes, not 23 of float32"),
        ({"count": -24}, "storage '0' has 96 bytes"),
        ({"count": True}, "a storage is damaged"),
        ({"kind": "Double"}, "storage '0' has 96 bytes, not 24 of float64"),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(options, said):
    assert_refused(said, changed(data_pkl=tensor(**options)))


def test_tensors_that_share_a_storage_are_counted_each(monkeypatch):
    whole = sum(array.nbytes for array in torch_file.state_dict(SAVED, "x").values())
    monkeypatch.setattr(torch_file, "MOST_BYTES", whole)
    torch_file.state_dict(SAVED, "x")
    monkeypatch.setattr(torch_file, "MOST_BYTES", whole - 1)
    assert_refused(f"tensors of {whole:,} bytes: allowed: {whole - 1:,}", SAVED)


def test_other_formats_are_refused():
    assert_refused(
        "is in the format of PyTorch before 1.6: load and save it with a newer one",
        pickle.dumps(0x1950A86A20F9469CFC6C, 2),  # how such a file begins
    )
    assert_refused("is no zip", b"")
    assert_refused("is no file of torch.save: it holds 0 data.pkl", packed({"a": b""}))
    two = packed({"a/data.pkl": PICKLE, "b/data.pkl": PICKLE})
    assert_refused("is no file of torch.save: it holds 2 data.pkl", two)
    assert_refused("its byte order is not little-endian", changed(byteorder=b"big"))
    lacking = {name: data for name, data in members(SAVED).items() if not name.endswith("/data/0")}
    assert_refused(f"holds no '{FOLDER}/data/0'", packed(lacking))


def read_or_refuse(data):
    try:
        found = torch_file.state_dict(data, "x")
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())
        assert sum(float(array.sum()) for array in found.values()) is not None  # inside its bytes


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(PICKLE) - 1), st.integers(0, 255)), min_size=1, max_size=3
    )
)
@example(changes=[(PICKLE.index(b"q\x01"), ord("r"))])  # a memo of 2 to the 32 places
def test_a_damaged_list_of_tensors_is_read_or_refused(changes):
    code = bytearray(PICKLE)
    for place, value in changes:
        code[place] = value
    read_or_refuse(changed(data_pkl=bytes(code)))


CODES = sorted(op.code.encode("latin-1") for op in pickletools.opcodes)
PARTS = [*CODES, b"K\x01", b"J\xff\xff\xff\xff", b"X\x01\0\0\0a", b"ctorch\nFloatStorage\n"]
PARTS += [b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0" + b"NK\x18tQ"]
PARTS += [
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n",
    b"q\x00",
    b"h\x00",
]


@given(parts=st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=30))
def test_any_pickle_is_read_or_refused(parts):
    read_or_refuse(changed(data_pkl=b"\x80\x02" + b"".join(parts) + b"."))

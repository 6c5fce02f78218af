"""Checkpoints: all comes back bit by bit, or one line names the file that is at fault."""

import json
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.errors import CheckpointError
from rtpd.storage import checkpoint, files
from rtpd.types import Preprocess


class Part(NamedTuple):
    frames: jax.Array
    flags: jax.Array


def tree(seed=0):
    """Every kind of leaf that a run saves; `frames` takes several segments, the last one short."""
    random = np.random.default_rng(seed)
    return {
        "net": [
            jnp.asarray(random.normal(size=(3, 2)), jnp.float32),
            jnp.array([np.nan, np.inf, -0.0, 1e-45], jnp.float32),
        ],
        "replay": Part(
            jnp.asarray(random.integers(0, 256, (11, 2, 8)), jnp.uint8),
            jnp.asarray(random.random(5) < 0.5),
        ),
        "key": jr.fold_in(jr.key(seed), 5),
        "keys": jr.split(jr.key(seed), 3),
        "step": jnp.int32(2**31 - 1 - seed),
        "empty": jnp.zeros((0, 4), jnp.float32),
    }


META = {"step": 12, "name": "net1.7 — ü", "list": [1, 2.5, None], "nested": {"on": True}}


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(checkpoint, "SEGMENT_BYTES", 64)


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "0000000012"
    checkpoint.save(folder, tree(), META)
    return folder


def bits(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jr.key_data(leaf) if is_key else leaf)
    return str(leaf.dtype), array.shape, array.tobytes()


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert [bits(a) for a in jax.tree.leaves(found)] == [bits(b) for b in jax.tree.leaves(expected)]


def test_what_is_saved_comes_back_bit_by_bit(saved):
    found, meta = checkpoint.load(saved, tree(seed=1))
    assert_same(found, tree())
    assert meta == META
    assert float(jr.uniform(found["key"])) == float(jr.uniform(tree()["key"]))
    assert sorted(p.name for p in saved.iterdir()) == [
        *(f"['replay'].frames-{i:04d}.zlib" for i in range(3)),
        "arrays.safetensors", "meta.json", "sha256.json",
    ]  # fmt: skip
    assert os.listdir(saved.parent) == [saved.name]


def test_abstract_arrays_are_enough_to_load(saved):
    found, _ = checkpoint.load(saved, jax.eval_shape(tree))
    assert_same(found, tree())


def test_a_loaded_array_may_be_donated(saved):
    found, _ = checkpoint.load(saved, tree())
    changed = jax.jit(lambda x: x.at[0].set(0), donate_argnums=0)(found["replay"].frames)
    np.testing.assert_array_equal(changed[1:], tree()["replay"].frames[1:])
    assert_same(checkpoint.load(saved, tree())[0], tree())


def test_a_checkpoint_may_be_written_over(saved):
    checkpoint.save(saved, tree(seed=1), {"other": 1})
    found, meta = checkpoint.load(saved, tree())
    assert_same(found, tree(seed=1))
    assert meta == {"other": 1}


def test_metadata_that_is_no_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.save(tmp_path / "1", tree(), {"loss": float("nan")})
    assert checkpoint.newest(tmp_path) == []


# ---- damage ------------------------------------------------------------------------------------


def damaged_files(folder):
    """Each file of a checkpoint but the list of digests."""
    return sorted(p for p in folder.iterdir() if p.name != "sha256.json")


def assert_refused(folder, name):
    with pytest.raises(CheckpointError, match=r"is missing|is damaged|cannot read") as error:
        checkpoint.load(folder, tree())
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_flipped_bit_in_any_file_is_found(saved):
    for path in damaged_files(saved):
        whole = path.read_bytes()
        for place in {0, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(flipped(whole, place, 1))
            assert_refused(saved, path.name)
        path.write_bytes(whole)
    assert_same(checkpoint.load(saved, tree())[0], tree())


def test_a_cut_lengthened_or_missing_file_is_found(saved):
    for path in [*damaged_files(saved), saved / "sha256.json"]:
        whole = path.read_bytes()
        for content in (b"", whole[: len(whole) // 2], whole[:-3], whole + b"\0"):
            path.write_bytes(content)
            assert_refused(saved, path.name)
        path.unlink()
        assert_refused(saved, path.name)
        path.write_bytes(whole)


@pytest.mark.parametrize("mask", [0x01, 0x02, 0x10, 0x80])
def test_damage_to_the_list_of_digests_is_found_or_harmless(saved, mask):
    path = saved / "sha256.json"
    whole = path.read_bytes()
    harmless = 0
    for place in range(len(whole)):
        path.write_bytes(flipped(whole, place, mask))
        try:
            found, _ = checkpoint.load(saved, tree())
        except CheckpointError as error:
            assert saved.name in str(error)
        else:
            harmless += 1
            assert_same(found, tree())
    assert harmless < 10  # whitespace


@pytest.mark.parametrize("content", ["{}", "[]", "null", "1", '{"meta.json": 1}', '{"": ""}'])
def test_an_odd_list_of_digests_is_refused(saved, content):
    (saved / "sha256.json").write_text(content)
    with pytest.raises(CheckpointError, match=saved.name):
        checkpoint.load(saved, tree())


def test_a_list_of_digests_reads_no_file_outside_its_folder(saved):
    (saved.parent / "secret").write_bytes(b"secret")
    digests = json.loads((saved / "sha256.json").read_text())
    digests["../secret"] = files.sha256(b"secret")
    (saved / "sha256.json").write_text(json.dumps(digests))
    with pytest.raises(CheckpointError, match="no name of a file"):
        checkpoint.load(saved, tree())


def flipped(data, place, mask):
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


# ---- other arrays than asked for ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": jnp.zeros(2, jnp.int32)}, r"'\['step'\]' is int32\[\], int32\[2\] is needed"),
        ({"step": jnp.float32(0)}, r"'\['step'\]' is int32\[\], float32\[\] is needed"),
        ({"more": jnp.zeros(1)}, r"holds other arrays than asked for, first: '\['more'\]'"),
        ({"key": jnp.zeros(2)}, r"'\['key'\]' is uint32\[2\], float32\[2\] is needed"),
        ({"key": jr.split(jr.key(0))}, r"'\['key'\]' is uint32\[2\], uint32\[2, 2\] is needed"),
        (
            {"replay": Part(jnp.zeros((10, 2, 8), jnp.uint8), jnp.zeros(5, bool))},
            r"frames' is uint8\[11, 2, 8\], uint8\[10, 2, 8\] is needed",
        ),
    ],
)
def test_arrays_of_another_kind_are_refused(saved, change, said):
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(saved, tree() | change)


def test_arrays_too_few_are_refused(saved):
    less = tree()
    del less["net"]
    with pytest.raises(CheckpointError, match=r"other arrays than asked for, first: '\['net'\]"):
        checkpoint.load(saved, less)


# ---- crashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("renames", [0, 1])
def test_a_crash_while_saving_leaves_the_old_checkpoint(saved, renames, monkeypatch):
    """The first rename ends the list of digests, the second the checkpoint."""
    replace, done = os.replace, []

    def crash(source, target):
        if len(done) == renames:
            raise OSError("power cut")
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        checkpoint.save(saved.with_name("0000000024"), tree(seed=1), META)
    monkeypatch.undo()
    assert checkpoint.newest(saved.parent) == [saved]
    assert_same(checkpoint.load(saved, tree())[0], tree())
    monkeypatch.setattr(checkpoint, "SEGMENT_BYTES", 64)
    checkpoint.save(saved.with_name("0000000024"), tree(seed=2), META)  # over what is left
    assert_same(checkpoint.load(saved.with_name("0000000024"), tree())[0], tree(seed=2))
    assert sorted(os.listdir(saved.parent)) == [saved.name, "0000000024"]


def test_a_crash_while_writing_leaves_the_old_checkpoint_of_the_same_step(saved, monkeypatch):
    def crash(path, data):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "write_synced", crash)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(saved, tree(seed=1), META)
    assert_same(checkpoint.load(saved, tree())[0], tree())


def test_what_has_its_name_is_on_disk(saved, monkeypatch):
    """Flushed before each rename: the file, or all of a folder; after it: the list of names."""
    done, fsync, replace = [], os.fsync, os.replace

    def flushed(handle):
        fsync(handle)
        done.append(os.fstat(handle).st_ino)

    def renamed(source, target):
        parts = [*source.iterdir(), source] if source.is_dir() else [source]
        assert {path.name for path in parts if path.stat().st_ino not in done} == set()
        replace(source, target)
        done.append("renamed")

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    checkpoint.save(saved.with_name("0000000024"), tree(seed=1), META)
    assert done[-2:] == ["renamed", saved.parent.stat().st_ino]
    done.clear()
    files.write_json(saved.parent / "manifest.json", META)
    assert done[1:] == ["renamed", saved.parent.stat().st_ino]


def test_the_newest_checkpoint_comes_first(tmp_path):
    for step in (5, 0, 40, 300):
        checkpoint.save(tmp_path / f"{step:010d}", {"x": jnp.int32(step)}, {})
    checkpoint.save(tmp_path / "20", {"x": jnp.int32(20)}, {})  # by number, not by name
    (tmp_path / ".0000000400.tmp").mkdir()
    (tmp_path / ".0000000400.tmp" / "sha256.json").write_text("{}")
    (tmp_path / "0000000500").mkdir()  # half deleted
    (tmp_path / "0000000600").write_text("a file")
    (tmp_path / "0000000040.old").mkdir()
    (tmp_path / "0000000040.old" / "sha256.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    found = [int(p.name) for p in checkpoint.newest(tmp_path)]
    assert found == [300, 40, 20, 5, 0]


def test_no_folder_holds_no_checkpoint(tmp_path):
    assert checkpoint.newest(tmp_path / "none") == []


def test_a_half_removed_checkpoint_is_none(saved, monkeypatch):
    def crash(folder):
        raise OSError("power cut")

    monkeypatch.setattr(checkpoint.shutil, "rmtree", crash)
    with pytest.raises(OSError, match="power cut"):
        checkpoint.remove(saved)
    assert saved.exists() and checkpoint.newest(saved.parent) == []
    monkeypatch.undo()
    checkpoint.remove(saved)
    assert not saved.exists()


# ---- segments shared with the checkpoint before ------------------------------------------------


def inodes(folder):
    return {p.name: p.stat().st_ino for p in folder.glob("*.zlib")}


def with_row(number):
    changed = tree()
    part = changed["replay"]
    frames = part.frames.at[number].set(part.frames[number] ^ 1)
    return changed | {"replay": part._replace(frames=frames)}


def test_only_segments_that_changed_are_written_anew(saved):
    later = saved.with_name("0000000024")
    checkpoint.save(later, with_row(5), META)  # four rows to a segment
    old, new = inodes(saved), inodes(later)
    assert [old[name] == new[name] for name in sorted(old)] == [True, False, True]
    assert_same(checkpoint.load(later, tree())[0], with_row(5))
    checkpoint.remove(saved)
    assert_same(checkpoint.load(later, tree())[0], with_row(5))


@pytest.mark.parametrize("damage", ["segment", "meta.json", "sha256.json"])
def test_damage_is_not_handed_on(saved, damage):
    path = sorted(saved.glob("*.zlib"))[0] if damage == "segment" else saved / damage
    path.write_bytes(path.read_bytes()[:-2])
    checkpoint.save(saved.with_name("0000000024"), with_row(5), META)
    assert_same(checkpoint.load(saved.with_name("0000000024"), tree())[0], with_row(5))


def test_where_links_are_refused_segments_are_copied(saved, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    later = saved.with_name("0000000024")
    checkpoint.save(later, with_row(5), META)
    assert not set(inodes(saved).values()) & set(inodes(later).values())
    assert_same(checkpoint.load(later, tree())[0], with_row(5))


def test_the_one_scale_of_vectors_of_earlier_versions_is_that_of_each_feature(tmp_path):
    checkpoint.save(tmp_path / "1", {"sees": Preprocess(jnp.zeros(3), jnp.float32(2))}, {})
    found, _ = checkpoint.load(tmp_path / "1", {"sees": Preprocess(jnp.ones(3), jnp.ones(3))})
    np.testing.assert_array_equal(found["sees"].scale, [2, 2, 2])

"""What tests share: JAX on the CPU, repeatable Hypothesis, slow tests last, PyTorch's file format.

Most programs run for less time than LLVM would take to optimise them, so it does not; a test that
asks what users' own programs do takes the fixture `optimised`.

`JAX_PLATFORMS=cuda pytest ...` runs the tests on a GPU. JAX's implicit rank promotion stays
allowed, since `Preprocess` subtracts a [H W] centre from [... K H W] frames.
"""

import gc
import io
import os
import struct
import tempfile
import zipfile

# Before anything imports JAX. Many tests train with the same settings: compile those once, for
# all workers and the processes that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
CACHE = tempfile.TemporaryDirectory(prefix="rtpd-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
gc.set_threshold(50_000, 20)  # tracing allots much and leaves little to collect

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

# Before anything imports rtpd: in the rooms of arrays, what is passed and returned has the shape
# and type that its annotation says, or the test fails. An int passes for a float, as for ty.
ROOMS = (
    "types", "envs.common", "envs.emulator", "envs.probe", "networks", "learning", "agents.acting",
    "agents.play.game", "export.quantise", "export.verify", "training.collector",
    "training.compiled", "training.snapshots", "report.stats", "report.arrival",
)  # fmt: skip
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
jaxtyping.install_import_hook([f"rtpd.{room}" for room in ROOMS], CHECKER)

# The first example compiles, so a deadline would measure XLA.
hypothesis.settings.register_profile("rtpd", deadline=None, derandomize=True)
hypothesis.settings.load_profile("rtpd")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture
def optimised(monkeypatch):
    """Programs of `jax.jit` are optimised as users' are, for laws of rounding and long runs."""
    import jax

    plain = jax.jit

    def jit(*args, compiler_options=None, **options):
        level = {"xla_backend_optimization_level": 3}  # XLA's default
        return plain(*args, compiler_options=level | (compiler_options or {}), **options)

    monkeypatch.setattr(jax, "jit", jit)


@pytest.fixture(scope="session")
def saved_by_torch():
    """A function from float32 arrays by name to what `torch.save` makes of a dict of tensors.

    With `pickle` that stands in the place of the list of tensors.
    """

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number(value):
        return b"J" + struct.pack("<i", value)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    def make(arrays, pickle=None):
        listed, members = b"\x80\x02ccollections\nOrderedDict\n)R(", {}
        for i, (name, array) in enumerate(arrays.items()):
            storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(i))
            storage += text("cpu") + number(array.size) + b"tQ"
            strides = numbers(step // 4 for step in array.strides)
            listed += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
            listed += number(0) + numbers(array.shape) + strides
            listed += b"\x89ccollections\nOrderedDict\n)RtR"
            members[f"archive/data/{i}"] = array.astype("<f4").tobytes()
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", listed + b"u." if pickle is None else pickle)
            for name, data in members.items():
                archive.writestr(name, data)
        return file.getvalue()

    return make

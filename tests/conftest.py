"""What every test shares: JAX on the CPU, repeatable Hypothesis, slow tests last.

`JAX_PLATFORMS=cuda pytest ...` runs the tests on a GPU. JAX's implicit rank promotion stays
allowed, since `Preprocess` subtracts a [H W] centre from [... K H W] frames.
"""

import os
import tempfile

# Before anything imports JAX. Many tests train with the same settings: compile those once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
CACHE = tempfile.TemporaryDirectory(prefix="rtpd-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import hypothesis  # noqa: E402

# The first example compiles, so a deadline would measure XLA.
hypothesis.settings.register_profile("rtpd", deadline=None, derandomize=True)
hypothesis.settings.load_profile("rtpd")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)

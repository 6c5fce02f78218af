"""What every test shares: JAX on the CPU, repeatable Hypothesis, slow tests last.

`JAX_PLATFORMS=cuda pytest ...` runs the tests on a GPU. JAX's implicit rank promotion stays
allowed, since `Preprocess` subtracts a [H W] centre from [... K H W] frames.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before anything imports JAX

import hypothesis

# The first example compiles, so a deadline would measure XLA.
hypothesis.settings.register_profile("rtpd", deadline=None, derandomize=True)
hypothesis.settings.load_profile("rtpd")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)

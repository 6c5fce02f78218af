"""Numbers, times and lines as people read them."""

import pytest

from rtpd.system import formatting as c


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (45.4, "45 s"), (59.6, "1 min"), (750, "12 min 30 s"), (1200, "20 min"),
     (11_130, "3 h 5 min"), (3600, "1 h"), (None, "-"), (float("inf"), "-"), (-3, "0 s")],
)  # fmt: skip
def test_durations(seconds, shown):
    assert c.duration(seconds) == shown


def test_one_is_one():
    assert [c.count(n, "env") for n in (0, 1, 8, 1500, None)] == [
        "0 envs", "1 env", "8 envs", "1,500 envs", "- envs",
    ]  # fmt: skip

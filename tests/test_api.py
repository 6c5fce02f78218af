"""The public API: exactly these names, each documented, none imported before it is used."""

import subprocess
import sys

import pytest

import rtpd

NAMES = [
    "CheckpointError", "Config", "ConfigError", "EnvError", "EvalResult", "Policy", "RequestError",
    "RtpdError", "RunError",
    "distill", "evaluate", "load_config", "load_policy", "play", "resume", "train",
]  # fmt: skip


def test_exported_members():
    assert sorted(rtpd.__all__) == NAMES
    for name in NAMES:
        assert getattr(rtpd, name).__doc__
    assert set(NAMES) <= set(dir(rtpd))
    with pytest.raises(AttributeError, match="trian"):
        _ = rtpd.trian


def test_no_module_hides_what_is_exported():
    """Importing rtpd.x sets the attribute x of rtpd, whatever was to be found under that name."""
    import importlib

    for home in {*rtpd._HOMES.values(), "learning.update", "cli.main"}:
        importlib.import_module(f"rtpd.{home}")
    for name in ("distill", "evaluate", "load_config", "load_policy", "play", "resume", "train"):
        assert callable(getattr(rtpd, name)), name


def test_rtpd_is_imported_without_jax():
    code = "import sys, rtpd, rtpd.cli.main; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

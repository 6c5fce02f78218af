"""Where a run comes from."""

from rtpd.storage import provenance as room


def test_provenance_says_where_a_run_comes_from(monkeypatch):
    monkeypatch.setattr(room.sys, "argv", ["/usr/bin/rtpd", "train", "pong"])
    about = room.provenance("cpu (2 cores)")
    assert about["command"] == ["rtpd", "train", "pong"] and about["device"] == "cpu (2 cores)"
    assert set(about["versions"]) >= {"rtpd", "jax", "ale-py"} and about["versions"]["jax"]
    assert about["started"].endswith("+00:00")


def test_without_git_the_commit_is_unknown(monkeypatch):
    def fail(*args, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(room.subprocess, "run", fail)
    assert room.provenance("cpu")["commit"] is None

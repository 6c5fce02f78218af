import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv

from rtpd import envs
from rtpd.envs import EnvOptions, ale
from rtpd.envs.common import env_seeds


def native(game, **changes):
    """ale-py as it comes, apart from what `AleEnv` also sets."""
    settings = {"noop_max": 31, "reward_clipping": False} | changes
    return AtariVectorEnv(game, 2, **settings)


def native_rows(env, actions, seed=0):
    frames, _ = env.reset(seed=env_seeds(seed, 2))
    rows = [(frames, np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))]
    rows += [env.step(action)[:4] for action in actions]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def stacks(frames, first):
    """u8[T E 84 84] -> u8[T E 4 84 84], by the rule of the replay: zero before `first`."""
    out = np.zeros((*frames.shape[:2], 4, 84, 84), np.uint8)
    for t in range(len(frames)):
        for e in range(frames.shape[1]):
            out[t, e, :3] = 0 if first[t, e] else out[t - 1, e, 1:]
            out[t, e, 3] = frames[t, e]
    return out


@pytest.mark.parametrize(
    ("game", "max_episode_frames", "steps"),
    [("pong", 200, 120), ("breakout", 108_000, 320), ("space_invaders", 200, 120)],
)
def test_frames_and_first_rebuild_the_native_stacks(game, max_episode_frames, steps, play):
    env = envs.make(game, 2, EnvOptions(max_episode_frames=max_episode_frames))
    rows, actions = play(env, steps)
    oracle = native(game, max_num_frames_per_episode=max_episode_frames)
    frames, reward, over, cut = native_rows(oracle, actions)
    assert rows.first[1:].sum() >= 2
    np.testing.assert_array_equal(stacks(rows.frame, rows.first), frames)
    np.testing.assert_array_equal(rows.reward, reward)
    np.testing.assert_array_equal(rows.terminal, over)
    np.testing.assert_array_equal(rows.truncated, cut)


@pytest.fixture(scope="module")
def breakout(play):
    """Breakout with and without episodic life, and the actions played in both."""
    on, actions = play(envs.make("breakout", 2, EnvOptions(episodic_life=True)), 320)
    off, _ = play(envs.make("breakout", 2, EnvOptions()), 320)
    return on, off, actions


def test_a_lost_life_is_terminal_and_changes_nothing_else(breakout):
    on, off, actions = breakout
    _, _, over_or_life, _ = native_rows(native("breakout", life_loss_info=True), actions)
    np.testing.assert_array_equal(on.terminal, over_or_life)
    np.testing.assert_array_equal(off.terminal, off.last)
    assert (on.terminal & ~on.last).sum() >= 4
    for name in ("frame", "reward", "truncated", "first", "last"):
        np.testing.assert_array_equal(getattr(on, name), getattr(off, name), err_msg=name)


def test_the_end_of_a_game_is_told_once(monkeypatch, play):
    """Some games show 0 lives for a few frames before they are over: only that is terminal."""
    lives = iter([3, 3, 2, 0, 0, 2, 1])
    recv = AtariVectorEnv.recv

    def scripted(self):
        *answer, info = recv(self)
        return *answer, info | {"lives": np.array([next(lives)], np.int32)}

    monkeypatch.setattr(AtariVectorEnv, "recv", scripted)
    rows, _ = play(envs.make("pong", 1, EnvOptions(episodic_life=True)), 7)
    assert np.flatnonzero(rows.terminal).tolist() == [3, 7]


def test_the_lives_that_a_game_begins_with_are_none_that_were_lost(monkeypatch, play):
    lives, recv = iter([3, 3, 3, 2, 2, 2]), AtariVectorEnv.recv

    def scripted(self):
        *answer, info = recv(self)
        return *answer, info | {"lives": np.array([next(lives)], np.int32)}

    monkeypatch.setattr(AtariVectorEnv, "recv", scripted)
    options = EnvOptions(episodic_life=True, max_episode_frames=12)
    rows, _ = play(envs.make("pong", 1, options), 6)
    assert np.flatnonzero(rows.truncated).tolist() == [3] and rows.first[4]
    assert not rows.terminal.any()


def test_a_life_lost_at_the_time_limit_is_terminal_and_last(breakout, play):
    on, _, _ = breakout
    t = int(np.flatnonzero((on.terminal & ~on.last)[:, 0])[0])
    options = EnvOptions(episodic_life=True, max_episode_frames=4 * t)
    rows, _ = play(envs.make("breakout", 2, options), t + 1)
    assert rows.terminal[t, 0] and rows.last[t, 0] and not rows.truncated[t, 0]
    assert rows.first[t + 1, 0]


def test_the_time_limit_truncates(play):
    rows, _ = play(envs.make("pong", 2, EnvOptions(max_episode_frames=80)), 62)
    assert np.flatnonzero(rows.truncated[:, 0]).tolist() == [20, 41, 62]  # 20 steps and a reset
    assert not rows.terminal.any()


@pytest.mark.parametrize(
    ("game", "noop_max", "frames"),
    [("freeway", 3, {0, 1, 2, 3}), ("freeway", 0, {0}), ("pong", 3, {1, 2, 3})],
)
def test_games_start_after_up_to_noop_max_frames(game, noop_max, frames, monkeypatch, play):
    seen = []  # emulator frames since the start of the game, of every row
    recv = AtariVectorEnv.recv

    def spy(self):
        answer = recv(self)
        seen.append(answer[4]["episode_frame_number"])
        return answer

    monkeypatch.setattr(AtariVectorEnv, "recv", spy)
    # A step, a reset, a step, a reset ...
    options = EnvOptions(noop_max=noop_max, max_episode_frames=1, frame_skip=1)
    rows, _ = play(envs.make(game, 2, options), 80)
    # Pong wants FIRE to start, which takes the place of one frame without action.
    assert set(np.stack(seen)[rows.first[1:]].tolist()) == frames


def test_options_reach_the_emulator(play):
    plain, _ = play(envs.make("pong", 2, EnvOptions()), 60)
    sticky, _ = play(envs.make("pong", 2, EnvOptions(sticky_actions=0.25)), 60)
    assert not np.array_equal(plain.frame, sticky.frame)
    spec = envs.make("pong", 1, EnvOptions(full_action_set=True, frame_skip=2)).spec
    assert (spec.num_actions, spec.frames_per_step) == (18, 2)
    assert len(set(spec.action_meanings)) == 18


def test_the_spec_names_the_games_own_actions():
    spec = envs.make("Pong", 1, EnvOptions()).spec
    assert spec.name == "ale/pong"
    assert spec.action_meanings == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")


def test_rewards_are_not_clipped(play):
    rows, _ = play(envs.make("space_invaders", 2, EnvOptions()), 150)
    assert rows.reward.max() > 1


def test_games_lists_what_one_player_can_play():
    games = ale.games()
    assert len(games) >= 104
    assert not {"combat", "joust", "maze_craze", "warlords"} & set(games)
    assert list(games) == sorted(games)
    specs = ale.registered().values()
    assert set(games) == {spec.kwargs["game"] for spec in specs if spec.namespace == "ALE"}


@pytest.mark.parametrize("game", list(ale.games())[::17])
def test_a_listed_game_starts_with_the_listed_actions(game):
    assert envs.make(game, 1, EnvOptions()).spec.num_actions == ale.games()[game]


def test_a_game_missing_from_the_table_is_counted(monkeypatch):
    monkeypatch.setattr(ale, "read_table", lambda name: [])
    monkeypatch.setattr(ale, "_carried", lambda: {"breakout", "pong", "combat"})  # two players
    assert ale.games.__wrapped__() == {"breakout": 4, "pong": 6}

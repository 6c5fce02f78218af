"""Results as tables: every name and unit, 80 columns."""

from progress_records import EVALUATION, LONG, NOTE, OWN, SUMMARY, screen, text, widest

from rtpd.cli import tables


def test_nothing_is_wider_than_the_screen():
    row = EVALUATION["agents"]["net1.7"] | {"mean": 123456.7, "standard_error": 12345.6}
    result = {**EVALUATION, "agents": {name: row | {"share": 0.00102} for name in LONG}}
    console = screen(False)
    tables.print_evaluation(result, console=console)
    games = {f"some_long_game_name_{i}": 18 for i in range(57)}
    tables.print_games(games, console=console)
    assert widest(text(console)) <= 80


def test_evaluation_for_people():
    console = screen(False)
    tables.print_evaluation(EVALUATION, console=console)
    shown = text(console)
    for piece in ("ale/pong", "net1.7", "29,214", "1.73 %", "-12.0 ± 1.1", "-13.0", "112 %",
                  "98 % (97 to 99)", "30 episodes an agent", "epsilon 0.05"):  # fmt: skip
        assert piece in shown, piece


def test_games_with_their_actions():
    console = screen(False)
    tables.print_games({"pong": 6, "boxing": 18, "[b]": 3}, console=console)
    assert text(console).startswith("3 games, each with its number of actions\n")
    assert text(console).split()[-6:] == ["[b]", "3", "boxing", "18", "pong", "6"]


def test_settings_of_a_student_stand_in_a_line_of_their_own():
    base = SUMMARY["agents"]["net1.7"]
    console = screen(False)
    agents = {name: {**base, **own} for name, own in OWN.items()}
    tables.print_evaluation({**EVALUATION, "agents": agents}, console=console)
    lines = text(console).splitlines()
    for line in lines:
        if any(word in line for word in (" ± ", "29,214")):
            assert "temperature-0.1" not in line and "follow-ema" not in line
    rows = [line.split()[0] for line in lines if "29,214" in line]
    assert rows == ["net1.7", "net1.7#2", "net1.7#3"]  # whole
    assert NOTE in " ".join(text(console).split())

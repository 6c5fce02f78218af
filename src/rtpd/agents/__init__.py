"""Policies that can act: kept on disk, found by name, played, measured.

Nothing here learns. `store` has a policy's file, `sources` finds agents wherever they are named
(a run, a file, the zoo), `formats` reads what other programs wrote, `runner` lets one act in
vector envs, `evaluate` measures whole episodes, `play` shows them, `zoo` holds students that ship.
"""

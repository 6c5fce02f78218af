"""Runs: the host loop, what it collects, logs, checkpoints and says, and how it begins and ends.

`train` and `distill` begin one, `trainer` is the loop, `collector` a game's emulators and replay,
`logger` what is told and written down. What is computed on the device lives in `learning`.
"""

"""What a run is asked to do: frozen dataclasses, TOML files over them, and the presets.

Imports neither JAX nor anything that learns, so that `rtpd --help` is quick.
"""

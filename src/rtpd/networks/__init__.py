"""Q-networks: from a text such as "net1.7" to an Equinox module, and what it costs.

Knows neither teachers nor students, and nothing of how weights are learnt.
"""

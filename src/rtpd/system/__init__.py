"""The process and the machine: compilation, processor, memory, signals, terminal text.

Knows nothing of learning or of what rtpd's files hold.
"""

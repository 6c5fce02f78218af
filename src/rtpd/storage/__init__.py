"""Files that survive a crash and a stranger: atomic writes, verified reads, run folders.

What is written here is whole under its name or is not there; what is read is bounded.
"""

"""Agents that other programs wrote, read without running anything in them.

A reader takes untrusted bytes and gives a policy or refuses them in one line; it imports neither
PyTorch nor pickle.
"""

"""The command line: words to a command, a command to a call, its result to the terminal.

No work is done here: every command calls a function that Python code can call as well.
"""

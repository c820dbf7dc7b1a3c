"""``execstore top``: a store, live in the terminal.

``source`` reads a store, ``model`` and ``trend`` hold what was read, ``filters`` chooses of it, ``plain`` prints it;
none of them needs more than the command line does. ``app`` and what it imports show it, with ``textual``.
"""

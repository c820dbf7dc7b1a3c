"""A small compute node that runs job files and records every step in a store: what ``execstore demo`` shows.

It uses only public names of the package, so that it can be read as an example of a program that uses a store.
"""

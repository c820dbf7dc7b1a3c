"""How the store keeps its word, shown on the real engine: ``execstore explain``.

A *recording* file system notes every call of the engine on a scratch store. From the calls alone `crash` works out what
a power cut could leave after each of them; `recover` really makes such a folder and really opens it. What is said of a
call is derived from the call (`wording`), so it stays right whatever order the engine works in.
"""

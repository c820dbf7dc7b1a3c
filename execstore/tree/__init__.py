"""A directory tree that changes atomically: paths and bytes, a journal, locks. It knows nothing of executions.

FORMAT.md beside this file is the normative description of what stands on disk and why a crash can't break it.
"""

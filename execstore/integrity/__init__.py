"""Checking and mending a store: what stands on disk against what must hold."""

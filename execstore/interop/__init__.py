"""Data in and out: Bacalhau's own database, JSON lines, SQLite."""

"""Rejected requests, kept for inspection and replay: `writer` adds them, `database` is the file."""

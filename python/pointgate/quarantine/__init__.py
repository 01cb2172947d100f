"""Rejected requests, kept for inspection and replay: `writer` adds, `database` is the file."""

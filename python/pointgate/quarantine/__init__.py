"""Rejected requests, stored for inspection and replay: `writer` adds, `database` is the file."""

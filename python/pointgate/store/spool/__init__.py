"""The spool, a write-ahead log on disk: `spool` is its interface, `writer` and `reader` its threads."""

"""The spool, a write-ahead log on disk: `spool` is its face, `writer` and `reader` its threads."""

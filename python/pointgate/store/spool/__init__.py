"""The write-ahead log on disk: `spool` is its interface, `writer` and `reader` are its threads."""

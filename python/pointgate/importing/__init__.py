"""Importing history: tables of a historian, in any shape, through the judge into any sink.

    mapping    the file that says what a table's columns mean
    plan       the arguments of an import
    inputs     files, folders, patterns and stdin, each with a fingerprint
    csv_rows, json_rows, parquet_rows    records of an input, each with its line
    times, values, value_kinds    texts as UTC milliseconds and as JSON tokens
    layouts    a record as points to be judged, or why it cannot be read
    judging    points as requests of the protocol, through `Validator.collect`
    reading    rows to accepted points, block by block in worker processes
    runs       accepted points spilled to sorted files, and planned into chunks of whole days
    writing    chunks into sinks
    state      what is done, durable; `session` puts all of this together
    coverage, picture    what the history holds by device and day; `report` prints it

An import has two phases, because a sink gets few large files only from points in the order of
their days, and a historian exports in any order:

    read     records → judge → runs of points on disk, sorted by day
    write    chunk by chunk of whole days, from all runs: each point once → every sink

Invariants: a verdict is the service's own; memory is bounded by `--memory`, whatever the inputs
are; after a crash at any moment the same command continues, and nothing is stored twice.
"""

"""Bulk validation of archived requests, on all cores of one machine.

    inputs          files, folders and standard input, split into jobs at line ends
    extract         the texts in a file; uses file_types, compressed, containers, streams, blocks
    jobs            the messages between the processes: options, jobs and results
    pool            worker processes; results in the order of the jobs
    judge           runs one job: validates, counts, describes rejected requests
    report          totals by code and reason, and the file of rejected requests
    dataset_writer  writes accepted points as Parquet

Measured on small requests, 2026-11, 2 cores: two threads give 1.5 times the throughput of one,
because the Python code around a call of the judge holds the GIL; two processes give twice the
throughput. So each worker reads its range of a plain file itself. The main process reads only what
must be read sequentially: compressed files and pipes.

Invariants: the output does not depend on the number of processes; memory is bounded by the limits
and the number of processes, not by the size of the input or its longest line.
"""

"""The largest that the contract allows: values, requests, catalogs, archives, backlogs.

    make limits                     everything, under the memory that docs/operations.md promises
    pytest tests/limits             a short version of the same, which `make test` runs

Each test of the full size has the marker `limits`.
"""

"""`python -m pointgate`: the same as the command `pointgate`."""

from __future__ import annotations

from pointgate.cli import main

if __name__ == "__main__":
    main()

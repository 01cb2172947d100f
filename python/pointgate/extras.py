"""Packages that only some settings need: the extras of the package."""

from __future__ import annotations


def missing(error: ImportError, extra: str) -> str:
    """What to install for an import that has failed; raises the error if it is one of ours.

    Args:
        error: Why a module cannot be imported.
        extra: The extra of the package that it comes with.
    """
    if (error.name or "").startswith("pointgate"):
        raise error
    # psycopg that finds no libpq raises an ImportError of its own.
    is_missing = isinstance(error, ModuleNotFoundError)
    needs = f"the package {error.name}" if is_missing else str(error).partition("\n")[0]
    return f"needs {needs}: pip install 'pointgate[{extra}]'"

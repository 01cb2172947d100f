"""What is to be imported, and how: the arguments of an import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointgate.diagnostics import shown
from pointgate.errors import Problem
from pointgate.importing.reading import ReadOptions
from pointgate.importing.value_kinds import ValueKinds
from pointgate.toml.document import dotted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.catalog import Catalog
    from pointgate.importing.inputs import Filter
    from pointgate.importing.mapping import Mapping as TableMapping


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be imported, and how.

    Attributes:
        names: Files, folders, patterns, or `-`.
        filter: Which files of these.
        mapping: What their columns mean; None for archived requests.
        product: The product of archived requests.
        digest: A digest of the mapping, or of what stands in its place.
        catalog: The catalog.
        payload_bytes: The limit on a request.
        memory: Bytes, about.
    """

    names: Sequence[str]
    filter: Filter
    mapping: TableMapping | None
    product: str | None
    digest: str
    catalog: Catalog
    payload_bytes: int
    memory: int

    @property
    def reading(self) -> ReadOptions | None:
        """What a pool reads with; None where inputs are read in one process."""
        # Sending archived requests to others costs as much as judging them.
        if self.mapping is None or not self.mapping.is_cut:
            return None
        return ReadOptions(self.mapping, self.catalog, self.payload_bytes)


def unknown_points(
    mapping: TableMapping, name: str, product: str, catalog: Catalog
) -> list[Problem]:
    """The identifiers of a mapping file that the model of its product lacks."""
    kinds = ValueKinds(product, catalog.products[product])
    problems = []
    for title, point in mapping.points.items():
        near = kinds.unknown(point.identifier)
        if near is not None:
            reason = (
                f"expected an identifier of the model of {product}, got {shown(point.identifier)}"
            )
            reason += f", did you mean {near}" if near else ""
            problems.append(Problem(name, f"points.{dotted([title])}", reason))
    return problems

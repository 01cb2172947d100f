"""What a history holds is counted the same in one piece, in pieces, and saved between them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate.importing.coverage import Coverage
from pointgate.importing.state import State, StateError, StateFolder
from pointgate.store.points import DAY_US

if TYPE_CHECKING:
    from pathlib import Path

Key = tuple[str, str, str]

_names = st.sampled_from("ab")
_points = st.sets(
    st.tuples(
        st.tuples(_names, _names, _names),
        st.integers(0, 12).map(lambda quarter: quarter * DAY_US // 4),
    ),
    max_size=40,
)


def coverage(points: set[tuple[Key, int]]) -> Coverage:
    found = Coverage()
    if points:
        keys, times = zip(*sorted(points), strict=True)
        names = zip(*keys, strict=True)
        columns = [pa.array(one, pa.string()).dictionary_encode() for one in names]
        columns.append(pa.array(times, pa.timestamp("us", "UTC")))
        found.add(pa.record_batch(columns, ["product", "device", "identifier", "time"]))
    return found


def check(found: Coverage, points: list[tuple[Key, int]]) -> None:
    """What a reader would count."""
    assert found.points == len(points)
    assert {key: one.points for key, one in found.series.items()} == Counter(k for k, _ in points)
    for key, one in found.series.items():
        times = [time for other, time in points if other == key]
        assert (one.first, one.last) == (min(times), max(times))
        assert one.days == len({time // DAY_US for time in times})
    for device, days in found.devices.items():
        counted = Counter(time // DAY_US for key, time in points if key[:2] == device)
        assert dict(zip(days.days, days.counts, strict=True)) == counted
        assert list(days.days) == sorted(days.days)
    assert found.devices.keys() == {key[:2] for key, _ in points}


@given(_points, _points)
def test_two_pieces_are_counted_as_one(
    first: set[tuple[Key, int]], second: set[tuple[Key, int]]
) -> None:
    check(coverage(first), [*first])
    both = Coverage.of_saved(coverage(first).saved())
    both.add_all(coverage(second))
    check(both, [*first, *second])
    check(Coverage.of_saved(both.saved()), [*first, *second])


def test_a_damaged_file_is_told_by_its_name(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    state = State(id="one", mapping="", started_us=0)
    folder.save_coverage(coverage({(("p", "d", "i"), 0)}), state)
    (file,) = tmp_path.glob("*.coverage")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(StateError, match=rf"{file.name}: damaged: remove it"):
        folder.load_coverage(state)
    folder.close()

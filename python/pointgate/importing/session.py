"""An import from its beginning, or from where it was, to its end.

    begin     the state: a new one, or the one that is there, if it is of these inputs
    read      rows → judge → runs (`read_phase.py`); the state is saved with each run
    plan      all runs → chunks
    write     chunk by chunk into every sink, or posted; the state is saved with each chunk

Invariants: what the state says is durable before it says so.
"""

from __future__ import annotations

import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pointgate import failpoint
from pointgate.diagnostics import os_reason
from pointgate.importing.coverage import Coverage
from pointgate.importing.input_names import inode_of, named
from pointgate.importing.inputs import STDIN, containers, fingerprint
from pointgate.importing.judging import RejectsFile
from pointgate.importing.posting import NAME, PostCalls, Posting
from pointgate.importing.read_phase import Progress, ReadPhase, StateFailedError
from pointgate.importing.runs import ROW_BYTES, Runs
from pointgate.importing.state import Input, State, StateError, StateFolder
from pointgate.importing.writing import Sinks
from pointgate.sinks.parquet.dimensions import try_write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pointgate.bulk.pool import Pool
    from pointgate.importing.answers import Refused
    from pointgate.importing.plan import Plan
    from pointgate.importing.posting import PostOptions
    from pointgate.importing.reading import Block, BlockResult
    from pointgate.sinks.settings import SinkSettings


class Import:
    """One import.

    Args:
        plan: What and how.
        folder: Where its state is.
        show: Called with the phase, its progress and its total.
        pool: Reads and judges; None to do so in this process.

    Attributes:
        state: Its progress.
        coverage: The points that it has stored, also by the commands before this one.
        loaded: How many points this command has read from its runs and written.
        problems: Why inputs that this command names could not be read to their end.
        places: Where the sinks of this command write, by their names.
        had_ended: Whether it had ended before, and no input is new: there is nothing to do.

    Raises:
        StateError: The state is of another import, or an input has changed.
    """

    def __init__(
        self,
        plan: Plan,
        folder: StateFolder,
        show: Progress,
        pool: Pool[Block, BlockResult] | None = None,
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._folder = folder
        self._show = show
        self._paths: dict[str, str] = {}
        self._destinations: dict[str, str] = {}
        self._unlisted: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.had_ended = False
        self.state = self._begin()
        self.coverage = folder.load_coverage(self.state)
        self.loaded = 0
        self._rejects = RejectsFile(folder.path / "rejects.ndjson", self.state.rejects_bytes)

    @property
    def problems(self) -> dict[str, str]:  # noqa: D102 - see above
        found = {
            part: why
            for part, why in self.state.problems.items()
            if any(one in self._paths for one in containers(part))
        }
        return self._unlisted | found

    @property
    def rejected(self) -> int:
        """How many points were rejected since inputs were added, or the import was begun."""
        return sum(self.state.counts.rejected.values()) - self.state.rejected_before

    @property
    def rejects(self) -> Path:
        """The file of rejected points."""
        return self._folder.path / "rejects.ndjson"

    def run(
        self,
        sinks: Sequence[SinkSettings],
        post: PostOptions | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Do all that is left to do.

        Args:
            sinks: Where to; none for a trial.
            post: How to post instead.
            report: Prints a line of diagnostics.

        Raises:
            ConfigError: A sink cannot be made, or the settings of the broker cannot be used.
            SinkUnavailableError: A sink is unavailable.
            PostingError: Requests cannot be posted.
            StateError: The import was begun with other sinks.
            OSError: The state cannot be written.
        """
        self._destinations = {one.name: self._place(one) for one in sinks}
        if post:
            self._destinations = {NAME: post.mqtt.url}
        self.places = {one.name: one.shown_place for one in sinks}
        self._check_destinations()
        try:
            if self.state.phase == "reading":
                reading = ReadPhase(self._plan, self._folder, self.state, self._rejects, self._pool)
                reading.run(self._paths, self._show, report)
                self._finish_reading()
            if self._pool:
                self._pool.close()
            if post is None:
                self._write_all(sinks, report)
            else:
                self._post_all(post, report)
        except StateFailedError as error:
            raise error.reason from error
        finally:
            self._rejects.close()

    def _place(self, sink: SinkSettings) -> str:
        """Where a sink writes; a local path as seen from the state, so that both may move."""
        place = " ".join(sink.remote_place)
        if sink.output is not None and sink.output.kind != "stream":
            path, folder = os.path.realpath(sink.output.path), os.path.realpath(self._folder.path)
            place = os.path.relpath(path, folder)
        return f"{sink.kind} {place}"

    def _check_destinations(self) -> None:
        """Refuse another destination than the one before: it, or this one, would lack points."""
        # The state of an earlier version has names alone.
        before = self.state.destinations or dict.fromkeys(self.state.sinks, "")
        wanted = self._destinations
        others = [
            name
            for name, place in wanted.items()
            if name not in before or (before[name] and before[name] != place)
        ]
        has_less = wanted.keys() != before.keys() and not self.had_ended
        if not before or not (others or has_less):
            return
        folder = self._folder.path
        if self.had_ended:
            place = "posted" if others[0] == NAME else f"written into the sink {others[0]}"
            reason = f"this import has ended, and was not {place}"
        elif others and others[0] in before:
            what = "broker" if others[0] == NAME else f"place or type of the sink {others[0]}"
            reason = f"this import was begun with another {what}"
        else:
            names = ["posted to the service" if name == NAME else name for name in before]
            reason = f"expected what this import was begun with ({', '.join(names)}), got "
            reason += "--post" if NAME in wanted else ", ".join(wanted) or "no sink"
        raise StateError(f"{folder}: {reason}: import into that, or with another --state")

    def _begin(self) -> State:
        state = self._folder.load()
        is_other = state is not None and state.mapping != self._plan.digest
        if state is None or (is_other and not state.counts.points):
            # Also after a mapping that accepted no point: its mistake was corrected.
            state = State(
                id=secrets.token_hex(8),
                mapping=self._plan.digest,
                started_us=time.time_ns() // 1000,
            )
        elif is_other:
            raise StateError(
                f"{self._folder.path}: begun with another mapping or product: "
                "import with those, or with another --state"
            )
        self._folder.tidy(state)
        self._paths = named(self._plan.names, self._plan.filter, state.inputs, self._unlisted)
        fresh = [name for name in self._paths if self._check(name, state)]
        self.had_ended = state.phase == "done" and not fresh
        if state.phase == "done" and fresh:  # more of the same history
            state.destinations = state.destinations or dict.fromkeys(state.sinks, "")
            state.phase, state.sinks, state.chunks = "reading", {}, []
            state.id = secrets.token_hex(8)
            state.rejected_before = sum(state.counts.rejected.values())
            state.rejects_before = state.rejects_bytes
        if state.phase == "writing" and fresh:
            raise StateError(
                f"{fresh[0]}: expected the inputs of the import that was stopped; "
                "import this one when it has ended"
            )
        missing = [
            name for name, one in state.inputs.items() if not one.done and name not in self._paths
        ]
        if missing and state.phase == "reading":
            raise StateError(f"{missing[0]}: expected it among the inputs, as it was begun")
        return state

    def _check(self, name: str, state: State) -> bool:
        """Whether an input is new.

        Raises:
            StateError: It is not what it was, or is to be read otherwise.
        """
        path = self._paths[name]
        try:
            now = fingerprint(path)
        except OSError as error:
            self._unlisted[name] = os_reason(error)
            return False
        known = state.inputs.get(name)
        place = "" if name == STDIN else os.path.abspath(path)  # noqa: PTH100 - links stay
        if known is None:
            state.inputs[name] = Input(now, path=place, inode=inode_of(path))
            return True
        if change := known.fingerprint.difference(now):
            raise StateError(
                f"{name}: has changed since its import began: {change}; restore it, "
                "or import it under another name"
            )
        if known.patterns not in ("", repr(self._plan.filter)):
            raise StateError(
                f"{name}: was begun with other patterns of --include and --exclude: "
                "import it with those, or with another --state"
            )
        known.path = place
        return False

    def _save(self) -> None:
        self.state.rejects_bytes = self._rejects.sync()
        self._folder.save(self.state)

    def _finish_reading(self) -> None:
        self.state.most_rows = max(1000, self._plan.memory // 4 // ROW_BYTES)
        runs = Runs(self._folder.runs, self.state.runs)
        self.state.chunks = runs.plan(self.state.most_rows)
        self.state.phase = "writing"
        self.state.destinations = self._destinations
        self._save()

    def _write_all(self, settings: Sequence[SinkSettings], report: Callable[[str], None]) -> None:
        if self.state.phase == "done":
            return
        with Sinks(settings, self.state, self._save, self._refuse) as sinks:
            for folder in {place for one in settings if (place := one.dimensions_folder)}:
                _, reason = try_write(folder, self._plan.catalog)
                if reason:
                    report(f"{folder}: dimensions not written: {reason}")
            self._each_chunk("writing", sinks.write)

    def _post_all(self, options: PostOptions, report: Callable[[str], None]) -> None:
        if self.state.phase == "done":
            return
        total = sum(chunk.rows for chunk in self.state.chunks)
        done = 0

        def show(points: int) -> None:
            nonlocal done
            done += points
            self._show("posting", done, total)

        calls = PostCalls(self._save, self._refuse_post, show, report)
        with Posting(options, self.state, self._folder.path, calls) as posting:
            self._each_chunk("posting", posting.write)

    def _each_chunk(self, phase: str, write: Callable[[int, pa.Table], None]) -> None:
        """Load each chunk, while the one before it is written."""
        runs = Runs(self._folder.runs, self.state.runs)
        chunks = self.state.chunks
        total = sum(chunk.rows for chunk in chunks)
        done = 0
        found = Coverage()
        with ThreadPoolExecutor(1, thread_name_prefix="runs") as loader:
            loading = loader.submit(runs.load, chunks[0]) if chunks else None
            for number, chunk in enumerate(chunks):
                rows = loading.result() if loading else None
                following = chunks[number + 1 : number + 2]
                loading = loader.submit(runs.load, following[0]) if following else None
                if rows is not None:
                    found.add(rows)
                    write(number, pa.Table.from_batches([rows]))
                    failpoint.hit("import-after-chunk")
                done += chunk.rows
                if phase == "writing":
                    self._show(phase, done, total)
        self.loaded = found.points
        self.coverage.add_all(found)
        self._folder.save_coverage(self.coverage, self.state)
        self.state.phase = "done"
        self.state.points += found.points
        self.state.runs = []
        self._save()
        self._folder.tidy(self.state)

    def _refuse(self, sink: str, row: Mapping[str, Any], reason: str) -> None:
        """Describe a point that a sink can never store."""
        self.state.counts.reject("refused")
        found = {"file": "", "line": None, "reason": "refused", "message": f"{sink}: {reason}"}
        self._rejects.write(found | _described(row))

    def _refuse_post(self, row: Mapping[str, Any], refused: Refused) -> None:
        """Describe a point that the service rejects."""
        self.state.counts.reject(refused.reason)
        found = {"file": "", "line": None, "code": refused.code, "reason": refused.reason}
        self._rejects.write(found | {"message": refused.message} | _described(row))


def _described(row: Mapping[str, Any]) -> dict[str, object]:
    """The key and the value of a point."""
    values = (one for name, one in row.items() if name.startswith("value_"))
    value = next((one for one in values if one is not None), None)
    key = {name: row[name] for name in ("product", "device", "identifier")}
    time = row["time"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return key | {"time": time, "value": value}

"""The judge, compiled: everything that looks at a payload's bytes (Rust crate `pointgate-core`)."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, final

from typing_extensions import CapsuleType, disjoint_base

__all__ = [
    "Catalog",
    "Counters",
    "Devices",
    "DocumentError",
    "Fault",
    "Model",
    "Points",
    "Product",
    "Report",
    "Validator",
    "__version__",
    "build_profile",
    "codes",
    "reasons",
]

__version__: Final[str]
build_profile: Final[Literal["release", "debug"]]
"""How the extension was compiled. A debug build judges some thirty times slower."""

reasons: Final[tuple[str, ...]]
"""The closed list of fault reasons (contract 2.5), in its order: also the metric label."""

codes: Final[tuple[int, ...]]
"""Every code a verdict can have: 0 for a bad topic, 200, and the codes of contract 3."""

class DocumentError(ValueError):
    """A model document or device file that cannot be understood (contract 6.2, 6.4).

    Attributes:
        problems: Every mistake found, first one first: `(location, reason)`. The location is a JSON
            pointer for a model document and `line N` for a device file.
    """

    problems: list[tuple[str, str]]

@final
class Model:
    """A thing model, compiled once and shared by every product that uses it."""

    @staticmethod
    def compile(document: bytes) -> Model:
        """Compile a model document in either shape that EnOS writes (contract 6.1).

        Raises:
            DocumentError: The document cannot be understood; `problems` has JSON pointers.
        """

    def __len__(self) -> int:
        """The number of points."""

    @property
    def identifiers(self) -> list[str]:
        """The points' identifiers, in the order of the document."""

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What is legal and most likely not meant: `(JSON pointer, reason)` (contract 6.1)."""

@final
class Devices:
    """The exact set of a product's device keys, about 25 bytes a key."""

    @staticmethod
    def parse(data: bytes, format: Literal["txt", "csv", "jsonl"]) -> Devices:
        """Read a device file (contract 6.4). The interpreter lock is released meanwhile.

        Raises:
            DocumentError: A line cannot be understood; `problems` has the line numbers.
        """

    def __len__(self) -> int: ...
    def __contains__(self, key: str, /) -> bool: ...
    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What is suspicious about the file, a bounded number: `(location, reason)`."""

@final
class Product:
    """A product: its model, its devices and its settings (contract 6.4)."""

    def __new__(
        cls,
        model: Model,
        devices: Devices,
        *,
        default_device: str | None = None,
        numbers_as_strings: bool = False,
        null_points: Literal["reject", "ignore"] = "reject",
        unknown_points: Literal["reject", "ignore"] | None = None,
        time_min: int | None = None,
        time_max_past: int | None = None,
        time_max_future: int | None = None,
    ) -> Product:
        """Times are in milliseconds. `unknown_points=None` leaves it to the model."""

    @property
    def model(self) -> Model: ...
    @property
    def devices(self) -> Devices: ...

@disjoint_base
class Catalog:
    """An immutable snapshot: product key to product (contract 6.3)."""

    def __new__(cls, products: Mapping[str, Product]) -> Catalog:
        """Raises ValueError for a product key that no topic can have (contract 1.3)."""

    def __len__(self) -> int:
        """The number of products."""

    @property
    def products(self) -> dict[str, Product]: ...
    @property
    def devices(self) -> int:
        """The number of device keys of all products together."""

    @property
    def models(self) -> int:
        """The number of distinct models."""

@final
class Fault:
    """Why a request was not accepted: its first fault (contract 2.5, 3)."""

    @property
    def index(self) -> int | None: ...
    @property
    def device_key(self) -> str | None: ...
    @property
    def identifier(self) -> str | None: ...
    @property
    def pointer(self) -> str | None:
        """RFC 6901, whole. It resolves in the payload unless the fault is a missing member."""

    @property
    def reason(self) -> str: ...
    @property
    def expected(self) -> str | None: ...
    @property
    def got(self) -> str | None: ...
    @property
    def did_you_mean(self) -> str | None: ...
    @property
    def offset(self) -> int:
        """The byte of the payload where the fault stands; the payload's length for a sudden end."""

    @property
    def message(self) -> str:
        """The sentence of a reply: the code's documented text, where, expected and got."""

@final
class Report:
    """What became of one request."""

    @property
    def code(self) -> int: ...
    @property
    def points(self) -> int:
        """How many points were accepted; 0 unless the code is 200."""

    @property
    def null_points(self) -> int:
        """How many points without a value were ignored (contract 5.3); 0 unless the code is 200."""

    @property
    def early_times(self) -> int:
        """How many times are before 1971, most likely seconds (contract 3.5); 0 unless 200."""

    @property
    def reply(self) -> bytes | None:
        """The whole reply payload; None when nothing may be answered (code 0)."""

    @property
    def fault(self) -> Fault | None: ...

@final
class Points:
    """The points of accepted requests: rows of `pointgate.store.points.SCHEMA`, an Arrow stream.

    In the order of the requests, of their entries and of the points in them; each request has as
    many rows as its report has points. It can be read any number of times, from any thread.
    """

    @property
    def nbytes(self) -> int:
        """How many bytes they take as columns, names left out."""

    def __len__(self) -> int:
        """The number of points."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> CapsuleType:
        """Arrow's PyCapsule interface: what `pyarrow.table(points)` and others call."""

@final
class Validator:
    """Judges requests against a catalog. May be called from several threads at once."""

    catalog: Catalog
    """The snapshot in force. Assigning swaps it between calls, never within one (contract 6.3)."""

    def __new__(
        cls,
        catalog: Catalog,
        *,
        payload_bytes: int = 8388608,
        reply_detail: Literal["full", "none"] = "full",
    ) -> Validator: ...
    def validate(
        self,
        topics: Sequence[str],
        payloads: Sequence[bytes],
        *,
        now_ms: int | None = None,
        observed_us: Sequence[int | None] | None = None,
    ) -> list[Report]:
        """Judge a burst of requests: one report each, in order.

        Args:
            topics: The topics the requests came on.
            payloads: Their payloads, as many as topics.
            now_ms: What the products' time windows are around, UTC milliseconds; the system clock
                when absent.
            observed_us: For each request the `time` of its entries that have none, UTC
                microseconds; None is the instant of its arrival, which every window has in it.

        Raises:
            ValueError: `topics`, `payloads` and `observed_us` differ in length.
        """

    def collect(
        self,
        topics: Sequence[str],
        payloads: Sequence[bytes],
        *,
        now_ms: int | None = None,
        arrived_us: int | None = None,
        observed_us: Sequence[int | None] | None = None,
    ) -> tuple[list[Report], Points]:
        """Judge a burst as `validate` does, and give the points of its accepted requests.

        Each request arrives at an instant of its own: `received` of its points, and `time` where it
        gives none (contract 3.5).

        Besides the payloads it takes at most 56 bytes a point, 48 an entry, and twice the texts and
        device keys; the export and `pyarrow.table(points)` are in that.

        Args:
            topics: The topics the requests came on.
            payloads: Their payloads, as many as topics.
            now_ms: What the products' time windows are around, UTC milliseconds; when absent, that
                of `arrived_us`, or the system clock.
            arrived_us: When the first request arrived, UTC microseconds; each one behind it arrived
                one microsecond later. When absent: `now_ms`; without that the system clock, but
                later than every instant that was given before in this process.
            observed_us: For each request the `time` of its entries that have none, UTC
                microseconds; None is the instant of its arrival.

        Raises:
            ValueError: `topics`, `payloads` and `observed_us` differ in length.
        """

@final
class Counters:
    """The service's hot counters: touched once a burst, read at scrape time.

    `received = accepted + rejected + ignored + in flight` holds at every moment.
    """

    def __new__(cls) -> Counters: ...
    def receive(self, payloads: Sequence[bytes]) -> None:
        """A burst has arrived: its requests are in flight from here on."""

    def settle(self, reports: Sequence[Report], seconds: float) -> int:
        """These requests were answered and acknowledged, `seconds` after they arrived.

        A report with code 0 counts as ignored (`bad_topic`) and has no reply latency.

        Returns:
            How many early times they had.
        """

    def ignore_retained(self, requests: int) -> None:
        """These requests were stored retained ones: acknowledged, not judged (contract 1.5)."""

    def abandon(self, requests: int) -> None:
        """The connection ended with these requests unsettled: at QoS 1 they come again."""

    def fail(self, requests: int) -> None:
        """The judge itself failed on these requests: acknowledged, without a reply."""

    def judged(self, seconds: float) -> None:
        """One call of the judge took `seconds`."""

    @property
    def in_flight(self) -> int: ...
    def read(self) -> dict[str, object]:
        """Every figure, consistent with one another.

        Returns:
            `received`, `received_bytes`, `bursts`, `in_flight`, `points`, `null_points`,
            `early_times`: int;
            `codes`: dict of code to int, without 0; `reasons`: dict of reason to int;
            `ignored`: dict with `bad_topic`, `retained`, `connection_lost`,
            `judge_failed`;
            `judge_seconds`, `reply_seconds`: dict with `bounds` (list of float), `buckets`
            (cumulative counts, one more than bounds: +Inf last) and `sum` (float).
        """

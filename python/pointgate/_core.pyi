"""The judge, compiled: everything that looks at a payload's bytes (Rust crate `pointgate-core`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, final

from typing_extensions import CapsuleType, disjoint_base

__all__ = [
    "Catalog",
    "Counters",
    "Devices",
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

@final
class Model:
    """A thing model, compiled. Immutable; any number of products can share one.

    It keeps its document: two models are equal if their documents are, and a pickle holds the
    document, which is compiled again when it is loaded.
    """

    @staticmethod
    def compile(document: bytes) -> Model:
        """Compile a model document in either shape that EnOS writes (contract 6.1).

        Args:
            document: JSON in UTF-8, such as `json.dumps(model).encode()`.

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
        """What is legal and probably a mistake: `(JSON pointer, reason)` (contract 6.1)."""

@final
class Devices:
    """The exact set of a product's device keys, about 25 bytes each.

    Args:
        keys: The keys, such as a column of a database. They are not cleaned as those of a file
            are: a key is what the devices send as `deviceKey`, byte for byte.

    Raises:
        DocumentError: A key is empty, longer than 128 bytes, or has control characters.

    Two tables are equal if they have the same keys. A pickle holds the keys.
    """

    def __new__(cls, keys: Iterable[str]) -> Devices: ...
    @staticmethod
    def parse(data: bytes, format: Literal["txt", "csv", "jsonl"]) -> Devices:
        """Read a device file (contract 6.4). The interpreter lock is released meanwhile.

        Args:
            data: The bytes of the file.
            format: `txt` for a key a line, `csv` for a column `deviceKey`, `jsonl` for objects.

        Raises:
            DocumentError: A line cannot be understood; `problems` has the line numbers.
            ValueError: `format` is none of these.
        """

    def __len__(self) -> int: ...
    def __contains__(self, key: str, /) -> bool: ...
    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What is suspicious about the file, a bounded number: `(location, reason)`."""

@final
class Product:
    """A product: its model, its devices and its settings (contract 6.4).

    Args:
        model: What the product's points must be.
        devices: The devices that may post.
        default_device: The device of entries without `deviceKey`.
        numbers_as_strings: Whether a string that is exactly a JSON number counts as that number.
        null_points: `reject` a request with a point that is null, or `ignore` the point.
        unknown_points: `reject` a request with a point that the model lacks, or `ignore` the
            point; None leaves it to the model.
        time_min: The earliest time that is accepted, UTC milliseconds.
        time_max_past: How many milliseconds before now a time may be.
        time_max_future: How many milliseconds after now a time may be.

    Raises:
        ValueError: `null_points` or `unknown_points` is none of the words.
    """

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
    ) -> Product: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Model, Devices], dict[str, object]]: ...
    @property
    def model(self) -> Model:
        """The model that it was made with."""
    @property
    def devices(self) -> Devices:
        """The devices that it was made with."""

@disjoint_base
class Catalog:
    """An immutable snapshot: product key to product (contract 6.3).

    Args:
        products: The products by their keys.

    Raises:
        ValueError: No topic can have such a product key (contract 1.3).

    Two catalogs are equal if their products are. A pickle holds each model's document and the
    device keys, once however many products share them. Loading it compiles them again: about
    1.3 µs for each point of a model and 0.2 µs for each key.
    """

    def __new__(cls, products: Mapping[str, Product]) -> Catalog: ...
    def __len__(self) -> int:
        """The number of products."""

    @property
    def products(self) -> dict[str, Product]:
        """A copy of the mapping from product keys to products."""
    @property
    def devices(self) -> int:
        """The number of device keys of all products together."""

    @property
    def models(self) -> int:
        """The number of distinct models."""

@final
class Fault:
    """Why a request was not accepted: its first fault (contract 2.5, 3).

    A fault can be compared, hashed and pickled.
    """

    @property
    def index(self) -> int | None:
        """The index of the entry in `params`; 0 if `params` is one object."""
    @property
    def device_key(self) -> str | None:
        """The device key of the entry, decoded."""
    @property
    def identifier(self) -> str | None:
        """The identifier of the point, for faults inside `measurepoints`."""
    @property
    def pointer(self) -> str | None:
        """RFC 6901, whole. It resolves in the payload unless the fault is a missing member."""

    @property
    def reason(self) -> str:
        """The kind of fault: one of `reasons`."""
    @property
    def expected(self) -> str | None:
        """What the model, the protocol or JSON requires."""
    @property
    def got(self) -> str | None:
        """What came instead: a JSON type, or the value, escaped and cut at 64 characters."""
    @property
    def did_you_mean(self) -> str | None:
        """The identifier of the model that was probably meant."""
    @property
    def offset(self) -> int:
        """The byte of the payload where the fault stands; the payload's length for a sudden end."""

    @property
    def message(self) -> str:
        """The sentence of a reply: the code's documented text, where, expected and got."""

@final
class Report:
    """The result of one request.

    A report can be compared, hashed and pickled.
    """

    @property
    def code(self) -> int:
        """The code of the reply (contract 3): 200 if accepted, 0 for a topic that is not served."""
    @property
    def points(self) -> int:
        """The number of points that were accepted; 0 unless the code is 200."""

    @property
    def null_points(self) -> int:
        """The number of null points that were ignored (contract 5.3); 0 unless the code is 200."""

    @property
    def early_times(self) -> int:
        """The number of times before 1971, probably seconds (contract 3.5); 0 unless 200."""

    @property
    def reply(self) -> bytes | None:
        """The whole reply payload; None if no reply may be sent (code 0)."""

    @property
    def fault(self) -> Fault | None:
        """Why the request was not accepted; None if it was."""

@final
class Points:
    """The points of accepted requests: rows of `pointgate.store.points.SCHEMA`, an Arrow stream.

    In the order of the requests, of their entries and of the points in them; each request has as
    many rows as its report has points. It can be read any number of times, from any thread.
    """

    @property
    def nbytes(self) -> int:
        """Their size as columns in bytes, without names."""

    def __len__(self) -> int:
        """The number of points."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> CapsuleType:
        """Arrow's PyCapsule interface: what `pyarrow.table(points)` and others call."""

@final
class Validator:
    """Judges requests against a catalog. Can be called from several threads at once.

    Args:
        catalog: The products, their models and devices.
        payload_bytes: Larger payloads get code 1008 without being read; 1 to 4,294,967,295.
        reply_detail: Whether replies carry the fault (`full`) or only code and text (`none`).

    Raises:
        ValueError: `payload_bytes` is out of range, or `reply_detail` none of the words.
    """

    catalog: Catalog
    """The catalog in force. Assigning replaces it between calls, never in one (contract 6.3)."""

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
        """Judge a burst of requests: one report for each, in order.

        A request that is not valid is no exception: its report has a fault.

        Args:
            topics: The topics of the requests, a sequence of str.
            payloads: Their payloads, a sequence of bytes, as many as topics.
            now_ms: The present, for the products' time windows, UTC milliseconds; the system clock
                if None.
            observed_us: For each request the `time` of its entries that have none, UTC
                microseconds; None is the instant of its arrival, which is within every window.

        Returns:
            A list with one report for each request, in order.

        Raises:
            ValueError: `topics`, `payloads` and `observed_us` differ in length.
            TypeError: `topics` or `payloads` is no sequence, or an element is no str or no bytes.
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
        """Judge a burst as `validate` does, and return the points of its accepted requests, too.

        Each request arrives at an instant of its own: `received` of its points, and `time` of
        those that have none (contract 3.5).

        Besides the payloads it takes at most 56 bytes a point, 48 an entry, and twice the texts
        and device keys; the export and `pyarrow.table(points)` are included.

        Args:
            topics: The topics of the requests, a sequence of str.
            payloads: Their payloads, a sequence of bytes, as many as topics.
            now_ms: The present, for the products' time windows, UTC milliseconds; if None that of
                `arrived_us`, or the system clock.
            arrived_us: When the first request arrived, UTC microseconds; each further one arrived
                one microsecond later. If None `now_ms`; without that the system clock, but later
                than every instant that was given before in this process.
            observed_us: For each request the `time` of its entries that have none, UTC
                microseconds; None is the instant of its arrival.

        Returns:
            The reports, as `validate` returns them, and the points of the accepted requests.

        Raises:
            ValueError: `topics`, `payloads` and `observed_us` differ in length.
            TypeError: `topics` or `payloads` is no sequence, or an element is no str or no bytes.
        """

@final
class Counters:
    """The service's hot counters: updated once a burst, read when Prometheus scrapes.

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
        """The connection ended before these were acknowledged: at QoS 1 they are redelivered."""

    def fail(self, requests: int) -> None:
        """The judge itself failed on these requests: acknowledged, without a reply."""

    def judged(self, seconds: float) -> None:
        """One call of the judge took `seconds`."""

    @property
    def in_flight(self) -> int:
        """The number of requests that arrived and are not settled yet."""
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

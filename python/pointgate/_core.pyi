"""The judge, compiled: everything that looks at a payload's bytes (Rust crate `pointgate-core`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, Self, TypeAlias, final

from typing_extensions import Buffer, CapsuleType, disjoint_base

__all__ = [
    "FIRST_REPLY_ID",
    "LAST_REPLY_ID",
    "Burst",
    "Catalog",
    "Counters",
    "Devices",
    "Fault",
    "Lines",
    "Model",
    "MqttCodec",
    "MqttLoad",
    "Offender",
    "Points",
    "Product",
    "Report",
    "Request",
    "TapFilter",
    "Validator",
    "Verdicts",
    "__version__",
    "build_profile",
    "codes",
    "reasons",
    "unique_order",
]

__version__: Final[str]
build_profile: Final[Literal["release", "debug"]]
"""How the extension was compiled. A debug build judges some thirty times slower."""

reasons: Final[tuple[str, ...]]
"""The closed list of fault reasons (contract 2.5), in its order: also the metric label."""

codes: Final[tuple[int, ...]]
"""Every code a verdict can have: 0 for a bad topic, 200, and the codes of contract 3."""

FIRST_REPLY_ID: Final[int]
LAST_REPLY_ID: Final[int]
"""The packet ids of replies; those of the client library, for SUBSCRIBE, stay below."""

_Mode: TypeAlias = Literal["enforce", "lenient", "shadow"]

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
    """The exact set of a product's device keys: 12 bytes each, and the key.

    Args:
        keys: The keys, such as a column of a database. They are not cleaned as those of a file
            are: a key is what the devices send as `deviceKey`, byte for byte.

    Raises:
        DocumentError: A key is empty, longer than 128 bytes, or has control characters.

    Two tables are equal if they have the same keys. A pickle holds the keys.
    """

    def __new__(cls, keys: Iterable[str]) -> Devices: ...
    @staticmethod
    def parse(data: bytes, format: Literal["txt", "csv", "jsonl", "keys"]) -> Devices:
        """Read a device file (contract 6.4). The interpreter lock is released meanwhile.

        Args:
            data: The bytes of the file.
            format: `txt` for a key a line, `csv` for a column `deviceKey`, `jsonl` for objects;
                `keys` for a key a line, byte for byte: nothing is cleaned, nothing is a comment.

        Raises:
            DocumentError: A line cannot be understood; `problems` has the line numbers.
            ValueError: `format` is none of these.
        """

    def with_changes(
        self, *, added: Sequence[str] | None = None, removed: Sequence[str] | None = None
    ) -> Devices:
        """The table after some changes; this one stays as it is.

        Both share their keys: a change of a table of ten million takes microseconds.

        Args:
            added: Keys that are devices from then on.
            removed: Keys that are not, applied first.

        Raises:
            DocumentError: No device can have such a key.
        """

    def with_lines(self, data: bytes, *, first_line: int = 1, exact: bool = False) -> Devices:
        """The table after the changes of a text: `+KEY` and `-KEY`, one a line, in order.

        Args:
            data: Whole lines of a file of changes. The interpreter lock is released meanwhile.
            first_line: The number of the first one, for errors.
            exact: Whether keys are taken byte for byte, and no line is a comment.

        Raises:
            DocumentError: A line cannot be understood; `problems` has the line numbers.
        """

    @property
    def changed(self) -> int:
        """The number of keys that were added or removed since the table was made or folded."""

    def folded(self) -> Devices:
        """The same keys without the overhead of changes: 0.1 µs and 12 bytes a key, and the key.

        The interpreter lock is released meanwhile.
        """

    def rebased(self, folded: Devices, original: Devices) -> Devices | None:
        """The same keys, on top of a folded table.

        Args:
            folded: `original.folded()`.
            original: An earlier version of this table.

        Returns:
            None if this table was not made of `original` by changes.
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
        mode: What a service replies to requests that are rejected: `enforce`, `lenient` or `shadow`
            (contract 11). Verdicts are the same in each.

    Raises:
        ValueError: `null_points`, `unknown_points` or `mode` is none of the words.
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
        mode: _Mode = "enforce",
    ) -> Product: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Model, Devices], dict[str, object]]: ...
    @property
    def model(self) -> Model:
        """The model that it was made with."""
    @property
    def devices(self) -> Devices:
        """The devices that it was made with."""

    @property
    def mode(self) -> _Mode:
        """What a service replies to requests that are rejected (contract 11)."""

    def with_devices(self, devices: Devices) -> Product:
        """The same product with another device table."""

@disjoint_base
class Catalog:
    """An immutable snapshot: product key to product (contract 6.3).

    Args:
        products: The products by their keys.
        base: A catalog whose other products are in the new one, too; they are shared, not copied.

    Raises:
        ValueError: No topic can have such a product key (contract 1.3).

    Two catalogs are equal if their products are. A pickle holds each model's document and the
    device keys, once however many products share them. Loading it compiles them again: about
    1.3 µs for each point of a model and 0.2 µs for each key.
    """

    def __new__(cls, products: Mapping[str, Product], *, base: Catalog | None = None) -> Self: ...
    def __len__(self) -> int:
        """The number of products."""

    @property
    def products(self) -> dict[str, Product]:
        """A copy of the mapping from product keys to products."""

    def product(self, key: str) -> Product | None:
        """The product with this key; None if there is none."""

    @property
    def devices(self) -> int:
        """The number of device keys of all products together."""

    @property
    def models(self) -> int:
        """The number of distinct models."""

    @property
    def not_enforced(self) -> dict[str, _Mode]:
        """The modes of the products whose mode is not `enforce`, by product key (contract 11)."""

    @property
    def products_without_devices(self) -> int:
        """The number of products with an empty device table."""

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
    def code(self) -> int:
        """The code that a request with this fault gets from an enforced product (contract 3)."""
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
        """Why the request was not accepted; None if it was.

        In a burst, with code 200: why an enforced product rejects it (contract 11).
        """

@final
class Points:
    """The points of accepted requests: rows of `pointgate.store.points.SCHEMA`, an Arrow stream.

    Those of `judge_arrow` have one more column, `request` (int32): the row of the request.

    In the order of the requests, of their entries and of the points in them; each request has as
    many rows as its report has points. It can be read any number of times, from any thread.
    """

    @staticmethod
    def joined(parts: Sequence[Points]) -> Points | None:
        """The points of several, in order, which stay as they are: one export instead of one each.

        None if some were exported before, or have a column `request`.
        """

    @property
    def nbytes(self) -> int:
        """Their size as columns in bytes, without names."""

    def __len__(self) -> int:
        """The number of points."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> CapsuleType:
        """Arrow's PyCapsule interface: what `pyarrow.table(points)` and others call."""

@final
class Request:
    """One request as it arrived."""

    @property
    def topic(self) -> str:
        """Its topic."""

    @property
    def payload(self) -> bytes:
        """Its payload."""

    @property
    def retained(self) -> bool:
        """Whether it is acknowledged without being judged (contract 1.5)."""

    @property
    def observed(self) -> int | None:
        """When it first arrived, UTC microseconds, if it is a replay that states this."""

    @property
    def qos(self) -> int:
        """0, 1 or, in a session that another program created, 2."""

    @property
    def packet_id(self) -> int:
        """The packet id of its acknowledgement; 0 at QoS 0."""

    @property
    def correlation(self) -> bytes | None:
        """MQTT 5 Correlation Data to echo, if present."""

@final
class Burst:
    """Requests that arrived together, in the order of arrival, and what became of them.

    It holds them as one buffer: only those who ask get an object for each request.
    """

    @staticmethod
    def of(
        topics: Sequence[str],
        payloads: Sequence[bytes],
        *,
        arrived: float = 0.0,
        retained: Sequence[int] = ...,
        observed: Sequence[tuple[int, int]] = ...,
    ) -> Burst:
        """Make a burst of requests that are acknowledged by nobody, such as those of a test.

        Args:
            topics: The topics of the requests.
            payloads: Their payloads, as many as topics.
            arrived: When the first one arrived, on the monotonic clock, in seconds.
            retained: The places of those that are acknowledged without being judged.
            observed: By place, when a request first arrived, UTC microseconds.

        Raises:
            ValueError: `topics` and `payloads` differ in length.
        """

    def __len__(self) -> int: ...
    @property
    def arrived(self) -> float:
        """When the first request arrived, on the monotonic clock, in seconds."""

    @property
    def size(self) -> int:
        """Their memory in bytes, for every limit in bytes."""

    @property
    def payload_bytes(self) -> int:
        """The size of all payloads."""

    @property
    def fresh(self) -> int:
        """The number of requests that are judged: those that are not retained."""

    @property
    def requests(self) -> list[Request]:
        """The requests, an object for each."""

    @property
    def reports(self) -> list[Report | None]:
        """The report of each request; None for a retained one and where the judge failed.

        An enforced product rejects a request with code 200 and a fault (contract 11).
        """

    @property
    def replies(self) -> list[bytes | None]:
        """The reply to each request; None for a request that is only acknowledged."""

    @property
    def instants(self) -> list[int]:
        """The instant of each request: `time` of its entries that have none (contract 3.5)."""

    @property
    def counts(self) -> bytes:
        """How many points each request with accepted points has: native four-byte integers."""

    @property
    def rejected(self) -> tuple[list[str], list[bytes], list[Report], list[int]]:
        """The rejected requests: their topics, payloads, reports and instants.

        Also those that an enforced product rejects: their reports have code 200 and a fault.
        """

    def early_times(self, settled: int) -> list[tuple[str, int, bytes]]:
        """The topics of accepted requests with times before 1971, probably seconds (contract 3.5).

        Args:
            settled: How many requests of the burst count.

        Returns:
            For each topic how many of its requests have such times, and the payload of the first.
        """

    def stamp(self, first_us: int, now_ms: int) -> None:
        """Give each request that is judged its arrival instant (contract 3.5).

        Args:
            first_us: That of the first one, UTC microseconds; each one after it is a microsecond
                later.
            now_ms: The present, for the products' time windows, UTC milliseconds.
        """

    def answer(self, replies: Sequence[bytes | None]) -> None:
        """Replace every reply; None for a request that is only acknowledged.

        Raises:
            ValueError: There are not as many replies as requests.
        """

    def withdraw(self, numbers: Sequence[int]) -> None:
        """Remove verdict and reply of requests that the store permanently rejected.

        Args:
            numbers: Their places in `counts`.
        """

@final
class MqttCodec:
    """MQTT's frequent packets on one connection: requests in, replies and acknowledgements out.

    PUBLISH and its acknowledgements are read and written here; every other packet is for the client
    library (`take_control`). It does no I/O.

    Args:
        protocol: The level of the protocol, 4 or 5.
        frame_limit: A longer PUBLISH is truncated to this many bytes, at least `HEADER_BYTES`. If
            this is `HEADER_BYTES` over `limits.payload_bytes`, the judge still detects that the
            payload is too large.
        burst_requests: The most requests of a burst.
        burst_bytes: Their most bytes; a single request may be larger.
        reply_qos: The QoS of every reply; None for each request's own.

    Raises:
        ValueError: `protocol` is neither 4 nor 5.
    """

    def __new__(
        cls,
        *,
        protocol: int,
        frame_limit: int,
        burst_requests: int,
        burst_bytes: int,
        reply_qos: int | None = None,
    ) -> MqttCodec: ...
    def feed(self, data: bytes, now: float) -> tuple[int, int, int]:
        """Parse the bytes of one read.

        Args:
            data: The bytes, in the order of arrival.
            now: When they arrived, on the monotonic clock, in seconds.

        Returns:
            How many requests were completed, their memory in bytes, and the number of
            acknowledgements.

        Raises:
            MalformedPacketError: They are not MQTT.
            MemoryError: An allocation failed. After either error the connection must be closed.
        """

    def take_burst(self) -> Burst | None:
        """Remove the requests that arrived first, at most a burst; None if there are none."""

    def take_control(self) -> bytes:
        """Remove the complete packets that are for the client library."""

    def take_pubcomps(self) -> bytes:
        """Remove the packets that must be sent at once: the PUBCOMP of each PUBREL."""

    def take_rejected(self) -> list[tuple[int, str]]:
        """Remove the replies that the broker rejected: reason code and Reason String."""

    def ignore_requests(self) -> None:
        """From now on ignore requests: at QoS 1 they are redelivered."""

    def allow(self, window: int, best_qos: int, packet_limit: int | None) -> None:
        """Apply the broker's limits, from its CONNACK.

        Args:
            window: The most replies at QoS 1 that it has not acknowledged.
            best_qos: The highest QoS of a reply.
            packet_limit: The most bytes of a packet; None without a limit.
        """

    @property
    def window_is_full(self) -> bool:
        """Whether no reply at QoS 1 may be sent before the broker acknowledges one."""

    @property
    def packet_limit(self) -> int | None:
        """The broker's limit of a packet, in bytes."""

    @property
    def unacknowledged(self) -> int:
        """How many replies at QoS 1 the broker has not acknowledged."""

    def must_wait(self, burst: Burst, place: int) -> bool:
        """Whether the reply to the request at this place must wait for the window."""

    def write(
        self, burst: Burst, start: int, *, with_ends: bool = False
    ) -> tuple[bytes, int, list[int], list[tuple[int, int]]]:
        """Write replies and acknowledgements until a reply must wait.

        Those of the request at `start` are written in any case.

        Args:
            burst: A judged burst.
            start: The place of the first request.
            with_ends: Whether to return where packets end.

        Returns:
            The packets, each reply before its request's acknowledgement; the place of the first
            request that is not settled by them; the sizes of replies over the broker's limit, which
            are left out; for each settled request where its reply and its acknowledgement end.
        """

@final
class TapFilter:
    """Which answered requests a tap shows; each criterion that is given must hold.

    Args:
        product: The product key of the topic.
        code: The code of the verdict.
        reason: The reason of the fault.
        device: A device key that the payload holds, as a JSON string, or that the fault names.
        identifier: The identifier that the fault names.

    Raises:
        ValueError: There is no such code or reason.
    """

    def __new__(
        cls,
        *,
        product: str | None = None,
        code: int | None = None,
        reason: str | None = None,
        device: str | None = None,
        identifier: str | None = None,
    ) -> TapFilter: ...
    def sample(
        self, burst: Burst, settled: int, most: int, first: int, payload_bytes: int
    ) -> tuple[int, list[tuple[str, bytes, int, Report, int]]]:
        """Find the requests that match, and take a sample of them.

        Args:
            burst: A burst.
            settled: How many of its requests were answered.
            most: The most requests of the sample.
            first: Which match the sample begins with, counted around the end: a number that varies
                takes requests from all places of bursts.
            payload_bytes: How much of a payload is returned, up to the end of a character.

        Returns:
            How many requests match; those of the sample, in order: topic, payload, size of the
            whole payload, report and instant.
        """

@final
class MqttLoad:
    """The requests of a load generator on some connections, and the check of their replies.

    It speaks MQTT 3.1.1, and does no I/O. Instants are nanoseconds of one clock.

    Args:
        good: The requests that must be accepted: topic, payload, the place of the 16 digits of its
            id, the places of the 13 digits of its times, and the code of its reply.
        bad: Those that must be rejected.
        bad_share: The share of the latter, 0 to 1.
        qos: 0 or 1.
        connections: The number of connections.
        mark: The first half of every id, which tells replies from those to other senders.
        first_ms: The first time in a payload, UTC milliseconds.
        span_ms: After so many milliseconds times begin anew.
        timeout_ns: How long after it was due a request without a reply is lost.

    Raises:
        ValueError: There is no request of a kind, or a place is outside of a payload.
    """

    def __new__(
        cls,
        good: Sequence[tuple[str, bytes, int, Sequence[int], int]],
        bad: Sequence[tuple[str, bytes, int, Sequence[int], int]],
        *,
        bad_share: float,
        qos: int,
        connections: int,
        mark: int,
        first_ms: int,
        span_ms: int,
        timeout_ns: int,
    ) -> MqttLoad: ...
    def publish(self, connection: int, count: int, due_ns: int, interval_ns: float = 0.0) -> bytes:
        """Make requests; fewer if the broker has not acknowledged those before.

        Args:
            connection: The number of the connection that they are for.
            count: How many.
            due_ns: When the first one was due, from which its latency counts.
            interval_ns: The time from one to the next.

        Returns:
            Their packets, to be sent in order.
        """

    def feed(self, connection: int, data: bytes, now_ns: int) -> bytes:
        """Parse the bytes of one read, and count the replies in it.

        Args:
            connection: The number of the connection.
            data: The bytes, in the order of arrival.
            now_ns: When they arrived.

        Returns:
            The acknowledgements of the replies, to be sent.

        Raises:
            MalformedPacketError: They are not MQTT.
            MemoryError: An allocation failed. After either error the connection must be closed.
        """

    def expire(self, now_ns: int) -> None:
        """Give up the requests whose reply has not arrived in time."""

    @property
    def sent(self) -> int:
        """How many requests were sent."""

    @property
    def outstanding(self) -> int:
        """How many of them have no reply, and are not lost."""

    def latency_ns(self, share: float) -> int:
        """A quantile of the latencies so far, in nanoseconds; 1.0 is the longest."""

    def read(self) -> dict[str, object]:
        """Every figure.

        Returns:
            `sent`, `sent_bytes`, `answered`, `lost`, `repeated`, `foreign`: int;
            `codes`: dict of expected and actual code to requests.
        """

@final
class Verdicts:
    """The verdicts of `judge_arrow`, a row for each request in order: an Arrow stream.

    Columns: `code` and `points` (int32); `reason`, `pointer`, `message`, `device`, `identifier`
    (utf8), `index` (int32) and `offset` (int64) of the fault, null if the request is accepted or
    the fault has none; `id` (utf8), the request's id as JSON, with the quotes of a string. It can
    be read any number of times.
    """

    def __len__(self) -> int:
        """The number of requests."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> CapsuleType:
        """Arrow's PyCapsule interface: what `pyarrow.table(verdicts)` and others call."""

@final
class Lines:
    """The verdicts on the lines of a block, summed: what `Validator.judge_lines` returns."""

    @property
    def lines(self) -> int:
        """The number of lines, with those of whitespace."""

    @property
    def accepted(self) -> int:
        """The number of accepted requests."""

    @property
    def points(self) -> int:
        """The number of points in them."""

    @property
    def rejected(self) -> list[tuple[int, int, int, int, str]]:
        """The other requests: number of the line, begin and end in the block, code, reason."""

    @property
    def collected(self) -> list[Points]:
        """The points of the accepted requests, if they were asked for: a table for each thread."""

@final
class Validator:
    """Judges requests against a catalog. Can be called from several threads at once.

    Args:
        catalog: The products, their models and devices.
        payload_bytes: Larger payloads get code 1008 without being read; 1 to 4,294,967,295.
        reply_detail: Whether replies carry the fault (`full`), all faults that fit (`all`), or only
            code and text (`none`).

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
        reply_detail: Literal["full", "all", "none"] = "full",
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

    def all_faults(
        self,
        topic: str,
        payload: bytes,
        *,
        now_ms: int | None = None,
        observed_us: int | None = None,
        most: int = 100,
    ) -> tuple[list[Fault], bool]:
        """All faults of a request, in the contract's order: the first one is that of `validate`.

        Args:
            topic: Its topic.
            payload: Its payload. One that is no JSON has one fault.
            now_ms: The present, for the products' time windows, UTC milliseconds; the system clock
                if None.
            observed_us: The `time` of its entries that have none, UTC microseconds.
            most: How many faults are returned.

        Returns:
            The faults, none if the request is accepted; and whether there are more.
        """

    def judge_arrow(
        self,
        payloads: object,
        topics: object,
        *,
        now_ms: int | None = None,
        arrived_us: int | None = None,
        plain: bool = False,
    ) -> tuple[Verdicts, Points]:
        """Judge requests that are columns of Arrow, as `collect` does, without objects for each.

        The interpreter lock is released meanwhile.

        Args:
            payloads: An Arrow array of binary or string, of pyarrow, polars or any library with
                Arrow's PyCapsule interface; a null is an empty payload.
            topics: The same with a topic for each request, or one str for all.
            now_ms: The present, for the products' time windows, UTC milliseconds; if None that of
                `arrived_us`, or the system clock. Set it once for a job that may repeat parts.
            arrived_us: When the first request arrived, UTC microseconds; see `collect`.
            plain: Whether names of points are strings instead of dictionaries, which some engines,
                such as Spark, refuse.

        Returns:
            The verdicts, a row for each request, and the points of the accepted requests, with an
            additional column `request`: the row of the request.

        Raises:
            TypeError: `payloads` or `topics` is no Arrow array, or of another type.
            ValueError: `payloads` and `topics` differ in length.
        """

    def judge_lines(
        self,
        data: bytes,
        topic: str,
        *,
        now_ms: int | None = None,
        arrived_us: int | None = None,
        collect: bool = False,
        threads: int = 1,
    ) -> Lines:
        """Judge the lines of a block, each of which is a request, without objects for each.

        The interpreter lock is released meanwhile. A line ends with LF or CR LF; one of whitespace
        is no request.

        Args:
            data: Whole lines.
            topic: The topic of every request.
            now_ms: The present, for the products' time windows, UTC milliseconds; the system clock
                if None.
            arrived_us: When the first line arrived, UTC microseconds; each further one arrived one
                microsecond later. `now_ms` if None.
            collect: Whether to return the points of accepted requests.
            threads: On how many threads they are judged.
        """

    def judge_burst(
        self,
        burst: Burst,
        start: int,
        *,
        end: int | None = None,
        collect: bool = False,
        seconds: float | None = None,
    ) -> tuple[int, Points | None]:
        """Judge requests of a burst, which keeps their verdicts and replies; skip retained ones.

        Replies, and the points that are returned, are those of the products' modes (contract 11).

        Args:
            burst: The burst, stamped.
            start: The place of the first request.
            end: The place behind the last one; None for the end of the burst.
            collect: Whether to return the points of accepted requests.
            seconds: The call returns soon after this time, with some requests judged; None for all.

        Returns:
            The place of the first request that was not judged, and the points.

        Raises:
            ValueError: `start` or `end` is outside the burst.
        """

@final
class Offender:
    """A fault or a device that requests were rejected for."""

    @property
    def product(self) -> str:
        """The product key, as posted."""

    @property
    def reason(self) -> str:
        """The reason."""

    @property
    def device_key(self) -> str | None:
        """The device key of the entry, if it has one."""

    @property
    def identifier(self) -> str | None:
        """The identifier of the point, for faults inside `measurepoints`."""

    @property
    def pointer(self) -> str | None:
        """Of the example: where its fault is, RFC 6901."""

    @property
    def expected(self) -> str | None:
        """Of the example: what was required."""

    @property
    def got(self) -> str | None:
        """Of the example: what came instead."""

    @property
    def shadowed(self) -> bool:
        """Whether the requests were answered 200, because of their product's mode (contract 11)."""

    @property
    def requests(self) -> int:
        """How many requests since `since`; above a thousand a second an estimate."""

    @property
    def rate(self) -> float:
        """Requests a second, of the last minutes."""

    @property
    def since(self) -> float:
        """When the first of them was answered, in seconds of the clock that `settle` got.

        After ten minutes without one the next one is the first.
        """

    @property
    def last(self) -> float:
        """When the last of them was."""

@final
class Counters:
    """The service's hot counters: updated once a burst, read when Prometheus scrapes.

    `received = accepted + rejected + ignored + in flight` holds at every moment.

    Args:
        most_products: How many products are counted by their keys; the others are counted together.
    """

    def __new__(cls, most_products: int = 100) -> Counters: ...
    def serve(self, products: Sequence[str]) -> None:
        """A catalog becomes active: its products are counted by their keys from here on.

        Args:
            products: Their keys. Beyond `most_products` they are counted as `other`.
        """

    def receive(self, burst: Burst) -> None:
        """A burst has arrived: its requests are in flight from here on."""

    def settle(self, burst: Burst, settled: int, now: float) -> int:
        """Requests of a burst were acknowledged, and answered if they have a reply.

        Stale ones count as ignored (`retained`), as do withdrawn ones (`dead_lettered`), others
        without a verdict (`judge_failed`) and those with code 0 (`bad_topic`); these have no reply
        latency.

        Args:
            burst: The burst.
            settled: How many of its requests.
            now: The present, on the clock of their arrival, in seconds.

        Returns:
            How many early times they had.
        """

    def take_due(self) -> list[Offender]:
        """Remove the rejections to log: at most one a minute for a product and a reason.

        Returns:
            The last request of each, with `requests` since the line before.
        """

    def offenders(self, now: float, most: int) -> tuple[list[Offender], list[Offender]]:
        """The most frequent faults and devices of rejected requests, of the last minutes.

        Those of the last minute come first.

        Args:
            now: The present, on the clock of `settle`.
            most: How many of each.

        Returns:
            The faults by product, reason and identifier; the devices by product.
        """

    def abandon(self, requests: int) -> None:
        """The connection ended before these were acknowledged: at QoS 1 they are redelivered."""

    def judged(self, seconds: float) -> None:
        """One call of the judge took `seconds`."""

    def collected(self, points: Points) -> None:
        """These points were accepted: count their age at arrival, 0 for a time in the future.

        Points that were exported before are not counted.
        """

    @property
    def in_flight(self) -> int:
        """The number of requests that arrived and are not settled yet."""
    def read(self) -> dict[str, object]:
        """Every figure, consistent with one another.

        Returns:
            `received`, `received_bytes`, `bursts`, `in_flight`, `null_points`, `early_times`: int;
            `products`: dict of label to a dict with `codes` (dict of code to int, without 0),
            `reasons` (dict of reason to int), `points` (int), `shadowed` (requests answered 200 in
            spite of a fault, dict of reason to its code and int) and `skipped` (their points that
            were not stored, int); labels are product keys, `unknown` for products that no catalog
            has had, and `other` for those beyond `most_products`;
            `ignored`: dict with `bad_topic`, `retained`, `connection_lost`, `dead_lettered`,
            `judge_failed`;
            `judge_seconds`, `reply_seconds`, `age_seconds`: dict with `bounds` (list of float),
            `buckets` (cumulative counts, one more than bounds: +Inf last) and `sum` (float).
        """

def unique_order(
    columns: Sequence[Buffer | tuple[Buffer, Buffer]], *, keep_last: bool
) -> bytes | None:
    """Sort rows by columns, and keep one row of each key.

    Args:
        columns: As many rows each, the most significant one first: a buffer of signed 64-bit
            numbers; or for names two buffers, of each row's 32-bit index and of each name's 64-bit
            rank among all, from 0 or 1.
        keep_last: Whether the last one of rows with the same key stays; else the first one.

    Returns:
        The numbers of the rows that stay, 32 bits each; None if a key and the number of its row do
        not fit in 128 bits.

    Raises:
        TypeError: A column is something else.
    """

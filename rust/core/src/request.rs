//! A request from its first byte to its verdict (contract 3).
//!
//! ```text
//! topic, size, empty                             checked before the payload is read
//! read the document once, to its end:
//!     envelope members in any order: the first fault in the text is kept
//!     params: entries are judged while they are read (`entry/`), up to the first faulty one;
//!             everything behind that is only checked as JSON
//! syntax > envelope > method > product > entry   decided after the last byte
//! ```
//!
//! So the code never depends on the order of members, and a syntax error at the end takes
//! precedence over a bad value at the beginning. Only a few offsets of the payload are kept.

use std::ops::Range;

use crate::catalog::{Catalog, Mode, Product, ProductSettings};
use crate::collect::Collect;
use crate::entry::Entries;
use crate::envelope::Envelope;
use crate::fault::list::FaultList;
use crate::fault::{Fault, Reason};
use crate::foreign::{Foreign, recognise};
use crate::json::{Cursor, Syntax, SyntaxKind};
use crate::kind::{Kind, Measurepoint, MessageKind};
use crate::limits::{ID_PREFIX, Limits};
use crate::misnamed::with_misnamed;
use crate::points::Points;
use crate::reader::Reader;
use crate::scratch::Scratch;
use crate::tolerant::Tolerant;
use crate::topic::{Topic, served_topics};
use crate::verdict::Verdict;

/// One MQTT message and the time at which it arrived.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new member must not compile")]
pub struct Request<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The present, for the products' time windows: UTC milliseconds.
    pub now_ms: i64,
    /// The instant of its arrival, UTC microseconds. Unique only if the caller makes it so.
    pub arrived_us: i64,
    /// The `time` of its entries that have none, UTC microseconds; `None` is `arrived_us`.
    pub observed_us: Option<i64>,
}

impl<'a> Request<'a> {
    /// A request that arrives at a whole millisecond.
    #[inline]
    pub fn new(topic: &'a str, payload: &'a [u8], now_ms: i64) -> Self {
        Self { topic, payload, now_ms, arrived_us: now_ms.saturating_mul(1000), observed_us: None }
    }
}

/// Judges one request by one snapshot.
///
/// The same input gives the same verdict, whatever `scratch` was used for before.
pub fn judge(catalog: &Catalog, limits: &Limits, request: &Request<'_>, scratch: &mut Scratch) -> Verdict {
    let Some(topic) = Topic::parse(request.topic) else { return bad_topic(request) };
    let judge = Judge { request, limits, topic, product: catalog.product(topic.product_key) };
    judge.judge(scratch, ())
}

/// Judges one request as [`judge`] does, and adds its points to `points` if it is accepted.
pub fn collect(
    catalog: &Catalog,
    limits: &Limits,
    request: &Request<'_>,
    scratch: &mut Scratch,
    points: &mut Points,
) -> Verdict {
    let Some(topic) = Topic::parse(request.topic) else { return bad_topic(request) };
    let product = catalog.product(topic.product_key);
    let identifiers = product.map_or(0, |product| topic.kind.section(&product.model).len());
    points.begin(topic.product_key, identifiers, request.arrived_us, request.observed_us);
    let verdict = Judge { request, limits, topic, product }.judge(scratch, &mut *points);
    if verdict.fault.is_some() {
        points.abandon();
    }
    verdict
}

/// The answer to a request that is rejected with this fault, if its product has a mode that accepts
/// valid points beside faulty ones: the verdict by that mode, and how many points were skipped. The
/// valid points are added to `points` if the answer is 200.
///
/// `None`: the answer is the verdict. It is always if the fault is none of an entry (contract 11.1).
#[cold]
pub fn tolerate(
    catalog: &Catalog,
    limits: &Limits,
    request: &Request<'_>,
    fault: &Fault,
    scratch: &mut Scratch,
    points: &mut Points,
) -> Option<(Verdict, u64)> {
    fault.index?;
    let topic = Topic::parse(request.topic)?;
    let product = catalog.product(topic.product_key)?;
    let mode = product.settings.mode;
    if mode == Mode::Enforce {
        return None;
    }
    let identifiers = topic.kind.section(&product.model).len();
    points.begin(topic.product_key, identifiers, request.arrived_us, request.observed_us);
    let mut tolerant = Tolerant::new(&mut *points, mode);
    let judge = Judge { request, limits, topic, product: Some(product) };
    let verdict = judge.judge(scratch, &mut tolerant);
    let skipped = tolerant.skipped;
    if verdict.fault.is_some() {
        points.abandon();
    }
    Some((verdict, skipped))
}

/// All faults of a request, in the contract's order; none if it is accepted. The first one is that of
/// [`judge`], whose checks these are. Of more faults than `most` that many are returned, and true.
///
/// A payload that is not read, or is no JSON, has one fault.
pub fn all_faults(
    catalog: &Catalog,
    limits: &Limits,
    request: &Request<'_>,
    scratch: &mut Scratch,
    most: usize,
) -> (Vec<Fault>, bool) {
    list_faults(catalog, *limits, request, scratch, (most, false))
}

/// The faults for which a request is answered with another code than 200, as [`all_faults`] returns
/// them: without those that the product's mode skips (contract 11).
pub fn answered_faults(
    catalog: &Catalog,
    limits: &Limits,
    request: &Request<'_>,
    scratch: &mut Scratch,
    most: usize,
) -> (Vec<Fault>, bool) {
    let product = Topic::parse(request.topic).and_then(|topic| catalog.product(topic.product_key));
    let skips_points = product.is_some_and(|product| product.settings.mode != Mode::Enforce);
    list_faults(catalog, *limits, request, scratch, (most, skips_points))
}

fn list_faults(
    catalog: &Catalog,
    limits: Limits,
    request: &Request<'_>,
    scratch: &mut Scratch,
    (most, skips_points): (usize, bool),
) -> (Vec<Fault>, bool) {
    let Some(fault) = judge(catalog, &limits, request, scratch).fault else { return (Vec::new(), false) };
    let is_read =
        !matches!(fault.reason, Reason::BadTopic | Reason::TooLarge | Reason::Empty | Reason::Syntax);
    let Some(topic) = Topic::parse(request.topic).filter(|_| is_read) else { return (vec![*fault], false) };
    let judge = Judge { request, limits: &limits, topic, product: catalog.product(topic.product_key) };
    let mut faults = match topic.kind {
        MessageKind::Measurepoint => {
            judge.all_faults_as::<Measurepoint>(scratch, FaultList::new(most, skips_points))
        }
    };
    let more = faults.len() > most;
    faults.truncate(most);
    (faults, more)
}

#[cold]
fn bad_topic(request: &Request<'_>) -> Verdict {
    let fault = Fault::without_place(Reason::BadTopic, 0).expected(served_topics()).got_text(request.topic);
    Verdict::refused(fault, None)
}

/// One request, and what it is judged by.
#[derive(Clone, Copy)]
struct Judge<'r> {
    request: &'r Request<'r>,
    limits: &'r Limits,
    topic: Topic<'r>,
    product: Option<&'r Product>,
}

impl Judge<'_> {
    fn judge(self, scratch: &mut Scratch, collect: impl Collect) -> Verdict {
        match self.topic.kind {
            MessageKind::Measurepoint => self.judge_as::<Measurepoint, _>(scratch, collect),
        }
    }

    fn judge_as<K: Kind, C: Collect>(self, scratch: &mut Scratch, collect: C) -> Verdict {
        let payload = self.request.payload;
        let most = self.limits.payload_bytes;
        if payload.len() > most {
            let fault = Fault::without_place(Reason::TooLarge, most)
                .expected(format!("at most {most} bytes"))
                .got(format!("{} bytes", payload.len()));
            return Verdict::refused(fault, id_of_prefix::<K>(payload, scratch));
        }
        if payload.is_empty() {
            let fault = Fault::without_place(Reason::Empty, 0).expected("a JSON document").got("0 bytes");
            return Verdict::refused(fault, None);
        }

        let times = (self.request.now_ms, self.request.observed_us);
        let (mut reader, mut entries) = parts::<K, _>(payload, self.product, times, scratch, collect);
        let mut envelope = Envelope::default();
        if let Err(syntax) = envelope.read(&mut reader, &mut entries) {
            return Verdict::refused(syntax_fault(payload, syntax), envelope.id);
        }
        let fault = envelope
            .fault
            .or(envelope.method_fault)
            .or_else(|| self.product.is_none().then(|| self.unknown_product()))
            .or(entries.fault);
        if let Some(fault) = fault {
            return Verdict::refused(with_misnamed(fault, payload, K::TABLE.points), envelope.id);
        }
        let Entries { points, null_points, .. } = entries;
        Verdict { fault: None, points, null_points, early_times: reader.early_times, id: envelope.id }
    }
}

impl Judge<'_> {
    #[cold]
    fn unknown_product(&self) -> Box<Fault> {
        let fault = Fault::without_place(Reason::Device, 0).expected("a product of the catalog");
        fault.got_text(self.topic.product_key)
    }

    /// The faults of a payload that is JSON, up to one more than the list's limit.
    fn all_faults_as<K: Kind>(self, scratch: &mut Scratch, list: FaultList) -> Vec<Fault> {
        let payload = self.request.payload;
        let times = (self.request.now_ms, self.request.observed_us);
        let (mut reader, mut entries) = parts::<K, _>(payload, self.product, times, scratch, list);
        let mut envelope = Envelope::default();
        if let Err(syntax) = envelope.read(&mut reader, &mut entries) {
            return vec![*syntax_fault(payload, syntax)];
        }
        let FaultList { most, envelope: of_envelope, entries: of_entries, .. } = entries.collect;
        let of_product = self.product.is_none().then(|| self.unknown_product());
        let faults = of_envelope.into_iter().chain(envelope.method_fault).chain(of_product).chain(of_entries);
        faults.take(most + 1).map(|fault| *with_misnamed(fault, payload, K::TABLE.points)).collect()
    }
}

/// The reader of a payload and the state of its entries.
fn parts<'r, K: Kind, C: Collect>(
    payload: &'r [u8],
    product: Option<&'r Product>,
    times: (i64, Option<i64>),
    scratch: &'r mut Scratch,
    collect: C,
) -> (Reader<'r>, Entries<'r, K, C>) {
    // Entries of an unknown product are only checked as JSON, which no setting influences.
    static NO_SETTINGS: ProductSettings = ProductSettings::NONE;
    let settings = product.map_or(&NO_SETTINGS, |product| &product.settings);
    let Scratch { points, members, buffer, predictor, devices } = scratch;
    let reader = Reader { cursor: Cursor::new(payload), settings, early_times: 0, buffer, members };
    (reader, Entries::new(product, times, (points, predictor, devices), collect))
}

/// The id of a payload that is too large to be read, if it stands near the beginning.
#[cold]
fn id_of_prefix<K: Kind>(payload: &[u8], scratch: &mut Scratch) -> Option<Range<usize>> {
    let prefix = payload.get(..ID_PREFIX).unwrap_or(payload);
    let (mut reader, mut entries) = parts::<K, _>(prefix, None, (0, None), scratch, ());
    let mut envelope = Envelope::default();
    // A truncated document is hardly ever JSON; only the id before the truncation counts.
    let _ = envelope.read(&mut reader, &mut entries);
    envelope.id
}

#[cold]
fn syntax_fault(payload: &[u8], syntax: Syntax) -> Box<Fault> {
    let offset = syntax.offset();
    if let Some(Foreign { expected, got }) = recognise(payload, syntax) {
        return Fault::without_place(Reason::Syntax, offset).expected(expected).got(got);
    }
    let got = match payload.get(offset..).and_then(<[u8]>::first) {
        None => "the end".into(),
        Some(_) if syntax.kind() == SyntaxKind::ByteOrderMark => "a byte-order mark".into(),
        Some(byte) if byte.is_ascii_graphic() => format!("'{}'", char::from(*byte)),
        Some(byte) => format!("byte 0x{byte:02X}"),
    };
    Fault::without_place(Reason::Syntax, offset).expected(syntax.kind().expected()).got(got)
}

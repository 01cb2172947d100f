//! A request from its first byte to its verdict (contract 3).
//!
//! ```text
//! topic?  size?  empty?                                      before the payload is read
//! read the document once, to its end:
//!     envelope members in any order, the first fault in the text is kept
//!     params: entries are judged as they are read (entry.rs) until the first faulty one,
//!             from there on everything is only checked as JSON
//! syntax > envelope > method > product > entry               decided after the last byte
//! ```
//!
//! So a code never depends on the order of members, and a syntax fault at the end beats a bad value at the
//! beginning. Nothing is kept of the payload but a few offsets.

use std::ops::Range;

use crate::catalog::Catalog;
use crate::collect::Collect;
use crate::entry::Entries;
use crate::foreign::{Foreign, recognise};
use crate::json::{Cursor, Kind, Syntax, SyntaxKind};
use crate::limits::{ID_PREFIX, Limits, MAX_ID};
use crate::misnamed::with_misnamed;
use crate::points::Points;
use crate::rule::mismatch;
use crate::scratch::Scratch;
use crate::topic::product_key;
use crate::verdict::{Code, Fault, Reason, Stop};

const METHOD: &str = "integration.measurepoint.post";

/// One MQTT message and the time at which it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The topic it came on.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// UTC milliseconds: the clock of the products' time windows.
    pub now_ms: i64,
    /// UTC microseconds: when it arrived. Unique, if the caller takes care of that.
    pub arrived_us: i64,
    /// UTC microseconds: the `time` of its entries that have none; `None` is `arrived_us`.
    pub observed_us: Option<i64>,
}

impl<'a> Request<'a> {
    /// A request that arrives at a whole millisecond.
    #[inline]
    pub fn new(topic: &'a str, payload: &'a [u8], now_ms: i64) -> Self {
        Self { topic, payload, now_ms, arrived_us: now_ms.saturating_mul(1000), observed_us: None }
    }
}

/// What a request gets.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Why it was not accepted.
    pub fault: Option<Box<Fault>>,
    /// How many points were accepted; 0 unless the code is 200.
    pub points: u64,
    /// How many points without a value were passed over in an accepted request (contract 5.3).
    pub null_points: u64,
    /// How many of an accepted request's times are early (contract 3.5).
    pub early_times: u64,
    /// Where the id token stands that the reply echoes (contract 2.3).
    pub id: Option<Range<usize>>,
}

impl Verdict {
    fn refused(fault: Box<Fault>, id: Option<Range<usize>>) -> Self {
        Self { fault: Some(fault), points: 0, null_points: 0, early_times: 0, id }
    }

    /// The code of the reply.
    pub fn code(&self) -> Code {
        self.fault.as_ref().map_or(Code::Ok, |fault| fault.code())
    }
}

/// Judges one request by one snapshot.
///
/// The same input gives the same verdict, whatever `scratch` was used for before.
pub fn judge(catalog: &Catalog, limits: &Limits, request: &Request<'_>, scratch: &mut Scratch) -> Verdict {
    read(catalog, *limits, request, scratch, ())
}

/// Judges one request as [`judge`] does, and adds its points to `points` when it is accepted.
pub fn collect(
    catalog: &Catalog,
    limits: &Limits,
    request: &Request<'_>,
    scratch: &mut Scratch,
    points: &mut Points,
) -> Verdict {
    let product_key = product_key(request.topic).unwrap_or_default();
    let model_points = catalog.product(product_key).map_or(0, |product| product.model.len());
    points.begin(product_key, model_points, request.arrived_us, request.observed_us);
    let verdict = read(catalog, *limits, request, scratch, &mut *points);
    if verdict.fault.is_some() {
        points.abandon();
    }
    verdict
}

fn read<C: Collect>(
    catalog: &Catalog,
    limits: Limits,
    request: &Request<'_>,
    scratch: &mut Scratch,
    collect: C,
) -> Verdict {
    let payload = request.payload;
    let Some(product_key) = product_key(request.topic) else {
        let fault = Fault::without_place(Reason::BadTopic, 0)
            .expected("[/]sys/{productKey}/integration/measurepoint/post")
            .got_text(request.topic);
        return Verdict::refused(fault, None);
    };
    if payload.len() > limits.payload_bytes {
        let fault = Fault::without_place(Reason::TooLarge, limits.payload_bytes)
            .expected(format!("at most {} bytes", limits.payload_bytes))
            .got(format!("{} bytes", payload.len()));
        return Verdict::refused(fault, id_of_prefix(payload, scratch));
    }
    if payload.is_empty() {
        let fault = Fault::without_place(Reason::Empty, 0).expected("a JSON document").got("0 bytes");
        return Verdict::refused(fault, None);
    }

    let product = catalog.product(product_key);
    let mut entries = Entries::new(product, request.now_ms, request.observed_us, scratch, collect);
    let mut envelope = Envelope::default();
    if let Err(syntax) = envelope.read(&mut Cursor::new(payload), &mut entries) {
        return Verdict::refused(syntax_fault(payload, syntax), envelope.id);
    }
    let Entries { points, null_points, early_times, .. } = entries;
    let unknown_product = || {
        let fault = Fault::without_place(Reason::Device, 0).expected("a product of the catalog");
        fault.got_text(product_key)
    };
    let fault = envelope
        .fault
        .or(envelope.method_fault)
        .or_else(|| product.is_none().then(unknown_product))
        .or(entries.fault);
    match fault {
        Some(fault) => Verdict::refused(with_misnamed(fault, payload), envelope.id),
        None => Verdict { fault: None, points, null_points, early_times, id: envelope.id },
    }
}

/// The id of a payload that is too large to be read, when it stands near the beginning.
#[cold]
fn id_of_prefix(payload: &[u8], scratch: &mut Scratch) -> Option<Range<usize>> {
    let mut cursor = Cursor::new(payload.get(..ID_PREFIX).unwrap_or(payload));
    let mut envelope = Envelope::default();
    // Broken off in the middle, it is hardly ever JSON; the id before the break is all that counts.
    let _ = envelope.read(&mut cursor, &mut Entries::new(None, 0, None, scratch, ()));
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

/// The members of a request around its entries (contract 3.1).
#[derive(Default)]
struct Envelope {
    id: Option<Range<usize>>,
    /// Which of [`MEMBERS`] have come.
    seen: [bool; MEMBERS.len()],
    /// The first envelope fault in the text.
    fault: Option<Box<Fault>>,
    method_fault: Option<Box<Fault>>,
}

const MEMBERS: [&str; 4] = ["id", "version", "method", "params"];
const SPELLED: [&str; 4] = ["\"id\":", "\"version\":", "\"method\":", "\"params\":"];
const REQUIRED: [usize; 3] = [1, 2, 3];

impl Envelope {
    fn read<C: Collect>(
        &mut self,
        cursor: &mut Cursor<'_>,
        entries: &mut Entries<'_, '_, C>,
    ) -> Result<(), Syntax> {
        cursor.begin()?;
        if cursor.kind()? != Kind::Object {
            self.refuse(mismatch(cursor, Reason::Envelope, "object"), None)?;
            cursor.skip_value()?;
            return cursor.finish();
        }
        cursor.open()?;
        let mut first = true;
        while let Some((start, member)) = cursor.next_of(&mut first, &SPELLED)? {
            match member {
                Some(member) => self.member(start, member, cursor, entries)?,
                None => cursor.skip_value()?,
            }
        }
        let end = cursor.offset() - 1;
        for member in REQUIRED {
            if !self.seen[member] && self.fault.is_none() {
                let name = MEMBERS[member];
                let fault = Fault::here(Reason::Envelope, end).expected(format!("a member \"{name}\""));
                self.fault = Some(fault.got("no such member").inside(name));
            }
        }
        cursor.finish()
    }

    fn member<C: Collect>(
        &mut self,
        start: usize,
        member: usize,
        cursor: &mut Cursor<'_>,
        entries: &mut Entries<'_, '_, C>,
    ) -> Result<(), Syntax> {
        let name = MEMBERS[member];
        if std::mem::replace(&mut self.seen[member], true) {
            // Only the first fault is kept, so only one is built, however often members are repeated.
            if self.fault.is_none() {
                let fault = Fault::here(Reason::Envelope, start).expected("the member once");
                self.fault = Some(fault.got("the member again").inside(name));
            }
            return cursor.skip_value();
        }
        let start = cursor.clone();
        let judged = match name {
            "id" => self.id(cursor),
            "method" => self.method(cursor),
            "params" => entries.read(cursor),
            _ => version(cursor),
        };
        if let Err(stop) = judged {
            self.refuse(stop, Some(name))?;
            *cursor = start;
            cursor.skip_value()?;
        }
        Ok(())
    }

    /// Keeps the fault if it is the first one.
    #[cold]
    fn refuse(&mut self, stop: Stop, member: Option<&str>) -> Result<(), Syntax> {
        match stop {
            Stop::Syntax(syntax) => Err(syntax),
            Stop::NullPoint { .. } => Ok(()),
            Stop::Fault(fault) => {
                self.fault.get_or_insert(match member {
                    Some(name) => fault.inside(name),
                    None => fault,
                });
                Ok(())
            }
        }
    }

    fn id(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let start = cursor.offset();
        match cursor.kind()? {
            Kind::Null => return Ok(cursor.literal("null")?),
            Kind::String => drop(cursor.string()?),
            Kind::Number => {
                cursor.number()?;
                // Without its delimiter the number may not have come whole; it is broken JSON anyway.
                if !matches!(cursor.peek(), b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
                    return Ok(());
                }
            }
            _ => return Err(mismatch(cursor, Reason::Envelope, "string, number or null")),
        }
        let token = start..cursor.offset();
        if token.len() > MAX_ID {
            return Err(Fault::here(Reason::Envelope, start)
                .expected(format!("an id of at most {MAX_ID} bytes"))
                .got(format!("{} bytes", token.len()))
                .into());
        }
        self.id = Some(token);
        Ok(())
    }

    fn method(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let start = cursor.offset();
        if cursor.kind()? != Kind::String {
            return Err(mismatch(cursor, Reason::Envelope, "string"));
        }
        let method = cursor.string()?;
        if !method.is(METHOD) {
            let fault = Fault::here(Reason::Method, start).expected(METHOD).got_text(&method.decode());
            self.method_fault = Some(fault.inside("method"));
        }
        Ok(())
    }
}

/// Any string will do: clients send "1.0" and "1.1".
fn version(cursor: &mut Cursor<'_>) -> Result<(), Stop> {
    if cursor.kind()? != Kind::String {
        return Err(mismatch(cursor, Reason::Envelope, "string"));
    }
    cursor.string()?;
    Ok(())
}

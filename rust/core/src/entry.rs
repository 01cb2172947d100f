//! The entries of a request: judged while they are read (contract 3.2 to 3.6).
//!
//! Members come in any order but are judged in one: shape, `deviceKey`, `measurepoints`, `time`. So each fault has a rank and
//! an entry keeps the one of the lowest rank. Where a rule stops, the reader goes back to the beginning of that
//! value and passes over it as plain JSON, so what follows is still checked; this happens at
//! most once a member of one entry, then the request's fault is found and the rest is only syntax.

use std::borrow::Cow;

use crate::catalog::Product;
use crate::collect::Collect;
use crate::json::{Cursor, Kind, Syntax, Text};
use crate::model::Point;
use crate::rule::{
    Context, EARLY, MAX_TIME, check_with_quality, has_value, is_ignored_null, milliseconds, mismatch,
    read_number, refused, shown_number, with_unit,
};
use crate::scratch::Scratch;
use crate::verdict::{Fault, Reason, Stop};

/// The order in which an entry's members are judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Shape,
    DeviceKey,
    Measurepoints,
    Time,
}

const MEMBERS: [(&str, Rank); 3] =
    [("measurepoints", Rank::Measurepoints), ("deviceKey", Rank::DeviceKey), ("time", Rank::Time)];
const SPELLED: [&str; 3] = ["\"measurepoints\":", "\"deviceKey\":", "\"time\":"];

/// The entries of one request, as far as they have been read.
pub(crate) struct Entries<'c, 's, C> {
    /// `None`: the catalog does not have the product, and entries are only checked as JSON.
    product: Option<&'c Product>,
    now_ms: i64,
    /// The time of entries that have none, where it is not that of arrival; windows are around now.
    observed_us: Option<i64>,
    scratch: &'s mut Scratch,
    collect: C,
    pub(crate) points: u64,
    /// Points without a value that were passed over.
    pub(crate) null_points: u64,
    /// Times that are most likely seconds, or of a clock that was never set.
    pub(crate) early_times: u64,
    /// The first faulty entry's fault.
    pub(crate) fault: Option<Box<Fault>>,
}

/// Whose points an entry holds.
#[derive(Clone, Copy)]
enum DeviceKey<'a> {
    /// Absent or null: the product's default device.
    Default,
    Given(Text<'a>),
    /// Of another type, or more than one.
    Unusable,
}

/// What is known of the entry that is being read.
struct Entry<'a> {
    seen: [bool; MEMBERS.len()],
    device_key: DeviceKey<'a>,
    /// UTC milliseconds.
    time: Option<i64>,
    fault: Option<(Rank, Box<Fault>)>,
}

impl Entry<'_> {
    /// A member has come again; only the first fault of the shape is built, however often that happens.
    #[cold]
    fn repeated(&mut self, offset: usize, name: &'static str, rank: Rank) {
        if rank == Rank::DeviceKey {
            self.device_key = DeviceKey::Unusable;
        }
        if !matches!(self.fault, Some((Rank::Shape, _))) {
            let fault = Fault::here(Reason::Duplicate, offset).expected("the member once");
            self.fault = Some((Rank::Shape, fault.got("the member again").inside(name)));
        }
    }

    /// Keeps the fault if it comes before the one that is kept.
    #[cold]
    fn refuse(&mut self, rank: Rank, stop: Stop) -> Result<(), Syntax> {
        match stop {
            Stop::Syntax(syntax) => return Err(syntax),
            Stop::Fault(fault) => {
                if self.fault.as_ref().is_none_or(|(kept, _)| rank < *kept) {
                    self.fault = Some((rank, fault));
                }
            }
            Stop::NullPoint { .. } => {}
        }
        Ok(())
    }
}

impl<'c, 's, C: Collect> Entries<'c, 's, C> {
    pub(crate) fn new(
        product: Option<&'c Product>,
        now_ms: i64,
        observed_us: Option<i64>,
        scratch: &'s mut Scratch,
        collect: C,
    ) -> Self {
        Self {
            product,
            now_ms,
            observed_us,
            scratch,
            collect,
            points: 0,
            null_points: 0,
            early_times: 0,
            fault: None,
        }
    }

    /// Reads `params`: an array of entries, or one object, which is one entry.
    pub(crate) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        match cursor.kind()? {
            Kind::Array => {
                cursor.open()?;
                let (mut first, mut index) = (true, 0);
                while cursor.next_element(&mut first)? {
                    self.entry(cursor, index, true)?;
                    index += 1;
                }
                Ok(())
            }
            Kind::Object => Ok(self.entry(cursor, 0, false)?),
            _ => Err(mismatch(cursor, Reason::Envelope, "array or object")),
        }
    }

    #[inline]
    fn entry(&mut self, cursor: &mut Cursor<'_>, index: usize, in_array: bool) -> Result<(), Syntax> {
        let Some(product) = self.product.filter(|_| self.fault.is_none()) else {
            return cursor.skip_value();
        };
        let mut entry =
            Entry { seen: [false; MEMBERS.len()], device_key: DeviceKey::Default, time: None, fault: None };
        if cursor.kind()? == Kind::Object {
            self.members(cursor, product, &mut entry)?;
        } else {
            entry.refuse(Rank::Shape, mismatch(cursor, Reason::Format, "object"))?;
            entry.device_key = DeviceKey::Unusable;
            cursor.skip_value()?;
        }
        if self.observed_us.is_some() {
            self.observed(cursor.offset() - 1, product, &mut entry)?;
        }
        if entry.fault.is_some() {
            self.fault = place(entry, product, index, in_array);
        } else {
            let device_key = || match entry.device_key {
                DeviceKey::Given(text) => text.decode(),
                _ => Cow::Borrowed(product.settings.default_device.as_deref().unwrap_or_default()),
            };
            self.collect.entry(device_key, entry.time);
        }
        Ok(())
    }

    fn members<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        product: &Product,
        entry: &mut Entry<'a>,
    ) -> Result<(), Syntax> {
        cursor.open()?;
        let mut first = true;
        while let Some((start, member)) = cursor.next_of(&mut first, &SPELLED)? {
            let Some(member) = member else {
                cursor.skip_value()?;
                continue;
            };
            let (name, rank) = MEMBERS[member];
            if std::mem::replace(&mut entry.seen[member], true) {
                entry.repeated(start, name, rank);
                cursor.skip_value()?;
                continue;
            }
            let start = cursor.clone();
            let judged = match rank {
                Rank::Measurepoints => self.measurepoints(cursor, product),
                Rank::DeviceKey => device_key(cursor, product, entry),
                Rank::Time | Rank::Shape => self.time(cursor, product).map(|time| entry.time = time),
            };
            if let Err(stop) = judged {
                entry.refuse(rank, stop.inside(name))?;
                *cursor = start;
                cursor.skip_value()?;
            }
        }
        for (&(name, rank), seen) in MEMBERS.iter().zip(entry.seen) {
            if !seen && rank != Rank::Time {
                missing(cursor.offset() - 1, product, rank, name)
                    .map_or(Ok(()), |stop| entry.refuse(rank, stop))?;
            }
        }
        Ok(())
    }

    /// Judges the time that an entry without one has from its request.
    #[cold]
    fn observed(&self, offset: usize, product: &Product, entry: &mut Entry<'_>) -> Result<(), Syntax> {
        let (low, high) = self.window(product);
        let time = self.observed_us.unwrap_or_default().div_euclid(1000);
        if entry.time.is_some() || low <= time && time <= high {
            return Ok(());
        }
        let expected = format!("a time from {} to {}", low.max(0), high.min(MAX_TIME));
        let fault = Fault::here(Reason::Time, offset).expected(expected).got(time.to_string());
        entry.refuse(Rank::Time, Stop::from(fault.inside("time")))
    }

    /// The first and the last time that a product accepts now (contract 3.5).
    fn window(&self, product: &Product) -> (i64, i64) {
        let settings = &product.settings;
        let past = settings.time_max_past.map_or(0, |past| self.now_ms.saturating_sub(past));
        let low = past.max(settings.time_min.unwrap_or(0));
        let high = settings.time_max_future.map_or(MAX_TIME, |future| self.now_ms.saturating_add(future));
        (low, high)
    }

    /// Reads the points of an entry; the fault that stops it stands somewhere inside.
    #[inline(always)]
    fn measurepoints(&mut self, cursor: &mut Cursor<'_>, product: &Product) -> Result<(), Stop> {
        let mut judged = self.points(cursor, product, 0);
        // A point without a value that is ignored leaves the loop like a fault: so it costs the others nothing.
        while let Err(Stop::NullPoint { place }) = judged {
            self.collect.discard();
            self.null_points += 1;
            judged = self.points(cursor, product, place);
        }
        judged
    }

    /// Reads points from the beginning, place 0, or behind the point that has this place.
    fn points(&mut self, cursor: &mut Cursor<'_>, product: &Product, mut place: usize) -> Result<(), Stop> {
        let mut first = place == 0;
        if first && cursor.kind()? != Kind::Object {
            return Err(mismatch(cursor, Reason::Format, "object"));
        }
        let model = &*product.model;
        let Scratch { points: seen, members, buffer, guesses } = &mut *self.scratch;
        let mut context = Context { settings: &product.settings, early_times: 0, buffer, members };

        // The point that came after the last one before is compared with the text: first with a comma and no white
        // space before it, which takes no other step; then behind what there is. Only a name that is neither
        // is read and looked up.
        if first {
            seen.begin(model.len());
            guesses.begin(model.len());
            cursor.open()?;
        }
        loop {
            let mut index = guesses.after(place);
            let mut point = model.point(index);
            let end = cursor.offset();
            // Where the name stands, if there is only a comma before it.
            let mut start = end + 1;
            if first || !point.is_some_and(|point| cursor.take_next(&point.name)) {
                if !cursor.next_member(&mut first)? {
                    break;
                }
                start = cursor.offset();
                let was_compared = start == end + 1;
                if was_compared || !point.is_some_and(|point| cursor.take_name(&point.name)) {
                    let name = cursor.string()?;
                    cursor.colon()?;
                    let Some(found) = model.find(name.bytes_in(context.buffer)) else {
                        if product.ignore_unknown_points {
                            cursor.skip_value()?;
                            continue;
                        }
                        return Err(unknown_point(start, &name.decode(), product));
                    };
                    guesses.learn(place, found);
                    index = found;
                    point = model.point(found);
                }
            }
            let Some(point) = point else { continue };
            let identifier = || model.identifier(index);
            if !seen.mark(index) {
                let fault = Fault::here(Reason::Duplicate, start).expected("the identifier once");
                return Err(at_point(fault.got("the identifier again").into(), identifier()));
            }
            if let Err(stop) = check_point(point, cursor, &mut context, &mut self.collect) {
                self.early_times += context.early_times;
                return Err(without_value(stop, point, (index, identifier()), cursor, &context));
            }
            self.collect.point(index, identifier);
            self.points += 1;
            place = index + 1;
        }
        self.early_times += context.early_times;
        Ok(())
    }

    fn time(&mut self, cursor: &mut Cursor<'_>, product: &Product) -> Result<Option<i64>, Stop> {
        const EXPECTED: &str = "integer UTC milliseconds from 0 to 253402300799999";
        if cursor.kind()? == Kind::Null {
            cursor.literal("null")?;
            return Ok(None);
        }
        let start = cursor.offset();
        let settings = &product.settings;
        let Scratch { members, buffer, .. } = &mut *self.scratch;
        let mut context = Context { settings, early_times: 0, buffer, members };
        let Some(time) = read_number(cursor, &mut context)?.and_then(milliseconds) else {
            cursor.back_to(start);
            return Err(with_unit(refused(cursor, Reason::Time, EXPECTED)));
        };
        if time >= product.usual_times_from {
            return Ok(Some(time));
        }
        self.unusual_time(time, product)
            .map_err(|fault| with_unit(fault.at(start).got(shown_number(cursor, start)).into()))
    }

    /// Judges a time that is early, or of a product with a window.
    #[inline(never)]
    fn unusual_time(&mut self, time: i64, product: &Product) -> Result<Option<i64>, Box<Fault>> {
        // A window is inclusive; without one, history may be as old as it likes (contract 3.5).
        let (low, high) = self.window(product);
        if low <= time && time <= high {
            self.early_times += u64::from(time < EARLY);
            return Ok(Some(time));
        }
        let expected = format!("a time from {} to {}", low.max(0), high.min(MAX_TIME));
        Err(Fault::here(Reason::Time, 0).expected(expected))
    }
}

#[inline]
fn check_point<C: Collect>(
    point: &Point,
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    if point.quality {
        check_with_quality(&point.rule, cursor, context, collect)
    } else {
        point.rule.check(cursor, context, collect)
    }
}

fn device_key<'a>(cursor: &mut Cursor<'a>, product: &Product, entry: &mut Entry<'a>) -> Result<(), Stop> {
    match cursor.kind()? {
        Kind::Null => {
            let start = cursor.offset();
            cursor.literal("null")?;
            default_device(start, product, "null")
        }
        Kind::String => {
            let start = cursor.offset();
            let text = cursor.string()?;
            entry.device_key = DeviceKey::Given(text);
            if product.devices.find(text).is_some() {
                return Ok(());
            }
            let device_key = text.decode();
            if device_key.contains('\0') {
                cursor.back_to(start);
                return Err(refused(cursor, Reason::Format, "a string without U+0000"));
            }
            Err(unknown_device(start).got_text(&device_key).into())
        }
        _ => {
            entry.device_key = DeviceKey::Unusable;
            Err(mismatch(cursor, Reason::Format, "string"))
        }
    }
}

/// Judges an entry without a device key (contract 3.4).
fn default_device(offset: usize, product: &Product, got: &'static str) -> Result<(), Stop> {
    match &product.settings.default_device {
        Some(device_key) if product.devices.contains(device_key) => Ok(()),
        Some(device_key) => Err(unknown_device(offset).got_text(device_key).into()),
        None => Err(unknown_device(offset).got(got).into()),
    }
}

#[cold]
fn unknown_device(offset: usize) -> Box<Fault> {
    Fault::here(Reason::Device, offset).expected("a device of the product")
}

/// What an entry gets that lacks the member of `rank`, if anything.
#[cold]
fn missing(offset: usize, product: &Product, rank: Rank, name: &'static str) -> Option<Stop> {
    let stop = if rank == Rank::DeviceKey {
        default_device(offset, product, "no deviceKey").err()?
    } else {
        Fault::here(Reason::Format, offset).expected("object").got("no such member").into()
    };
    Some(stop.inside(name))
}

#[cold]
fn unknown_point(offset: usize, name: &str, product: &Product) -> Stop {
    let mut fault = Fault::here(Reason::UnknownPoint, offset).expected("a point of the model").got_text(name);
    fault.did_you_mean = product.model.suggest(name).map(str::to_owned);
    at_point(fault.into(), name)
}

/// A point was refused: passes over it when it is null and the product ignores that (contract 5.3).
#[cold]
fn without_value(
    stop: Stop,
    point: &Point,
    (index, identifier): (usize, &str),
    cursor: &mut Cursor<'_>,
    context: &Context<'_>,
) -> Stop {
    let null = Stop::NullPoint { place: index + 1 };
    if is_ignored_null(&stop, context) {
        return cursor.literal("null").map_or_else(Stop::from, |()| null);
    }
    match stop {
        Stop::NullPoint { .. } => null,
        Stop::Fault(fault) if !point.quality && fault.offset == cursor.offset() && has_value(cursor) => {
            let said = point.rule.without_quality();
            let said =
                said.map(|name| format!("object with \"value\"; {name} has no quality: send the bare value"));
            at_point(fault.said(said).into(), identifier)
        }
        Stop::Fault(fault) if fault.is_null(&[]) || point.quality && fault.is_null(&["value".into()]) => {
            let fault = fault.said(Some("null; leave out a point that has no value".to_owned()));
            at_point(fault.into(), identifier)
        }
        stop => at_point(stop, identifier),
    }
}

/// Adds the point to a fault's place.
#[cold]
fn at_point(stop: Stop, identifier: &str) -> Stop {
    match stop.inside(identifier) {
        Stop::Fault(mut fault) => {
            fault.identifier = Some(identifier.to_owned());
            Stop::Fault(fault)
        }
        other => other,
    }
}

/// The entry's fault with the entry's place.
#[cold]
fn place(entry: Entry<'_>, product: &Product, index: usize, in_array: bool) -> Option<Box<Fault>> {
    let (_, mut fault) = entry.fault?;
    fault.index = Some(index);
    fault.device_key = match entry.device_key {
        DeviceKey::Given(text) => Some(text.decode().into_owned()),
        DeviceKey::Default => product.settings.default_device.clone(),
        DeviceKey::Unusable => None,
    };
    if in_array {
        fault = fault.inside(index);
    }
    Some(fault.inside("params"))
}

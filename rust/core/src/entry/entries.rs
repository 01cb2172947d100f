//! `params`: the loop over entries, and over the members of an entry.

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::catalog::Product;
use crate::collect::Collect;
use crate::fault::at_value::mismatch;
use crate::fault::{Fault, Reason, Stop};
use crate::generation_set::GenerationSet;
use crate::json::{Syntax, Text};
use crate::kind::{Kind, Member};
use crate::predictor::OrderPredictor;
use crate::reader::Reader;

use super::pending::PendingDevices;

/// The order in which faults of one entry are judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The entry is no object, or has a member twice.
    Shape,
    Member(Member),
}

impl Rank {
    /// The same as a number.
    pub(super) fn order(self) -> u8 {
        match self {
            Self::Shape => 0,
            Self::Member(member) => 1 + member as u8,
        }
    }
}

/// The entries of one request, as far as they have been read.
pub(crate) struct Entries<'r, K, C> {
    kind: PhantomData<K>,
    /// `None`: the catalog does not have the product, and entries are only checked as JSON.
    pub(super) product: Option<&'r Product>,
    pub(super) now_ms: i64,
    /// The time of entries without one, if it is not that of arrival; subject to the product's
    /// window.
    pub(super) observed_us: Option<i64>,
    /// Points of the current entry that have been read.
    pub(super) seen: &'r mut GenerationSet,
    pub(super) predictor: &'r mut OrderPredictor,
    /// Devices of entries so far that are being looked up.
    pub(super) pending: &'r mut PendingDevices,
    pub(crate) collect: C,
    pub(crate) points: u64,
    /// Points that are null and were ignored.
    pub(crate) null_points: u64,
    /// The first faulty entry's fault.
    pub(crate) fault: Option<Box<Fault>>,
}

/// The device of an entry.
#[derive(Clone, Copy)]
pub(super) enum DeviceKey<'r> {
    /// Absent or null: the product's default device.
    Default,
    Given(Text<'r>),
    /// No string, or given twice.
    Unusable,
}

/// Where an entry stands in `params`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) in_array: bool,
}

/// The entry that is being read.
pub(super) struct Entry<'r> {
    pub(super) place: Place,
    /// By [`Member`].
    seen: [bool; Member::COUNT],
    pub(super) device_key: DeviceKey<'r>,
    /// UTC milliseconds.
    pub(super) time: Option<i64>,
    fault: Option<(Rank, Box<Fault>)>,
}

impl Entry<'_> {
    /// Its device for a fault, if it has one.
    fn known_device(&self, product: &Product) -> Option<String> {
        match self.device_key {
            DeviceKey::Given(text) => Some(text.decode().into_owned()),
            DeviceKey::Default => product.settings.default_device.clone(),
            DeviceKey::Unusable => None,
        }
    }

    /// A member came twice. Only the first fault of the shape is built, however often that happens.
    #[cold]
    fn repeated(&mut self, offset: usize, name: &'static str, member: Member) {
        if member == Member::DeviceKey {
            self.device_key = DeviceKey::Unusable;
        }
        if !matches!(self.fault, Some((Rank::Shape, _))) {
            let fault = Fault::here(Reason::Duplicate, offset).expected("the member once");
            self.fault = Some((Rank::Shape, fault.got("the member again").inside(name)));
        }
    }

    /// Keeps the fault if its rank is lower than that of the fault so far.
    #[cold]
    pub(super) fn refuse(&mut self, rank: Rank, stop: Stop) -> Result<(), Syntax> {
        match stop {
            Stop::Syntax(syntax) => return Err(syntax),
            Stop::Fault(fault) => {
                if self.fault.as_ref().is_none_or(|(kept, _)| rank < *kept) {
                    self.fault = Some((rank, fault));
                }
            }
            Stop::NullPoint => unreachable!("the loop over points handles its null points"),
        }
        Ok(())
    }
}

impl<'r, K: Kind, C: Collect> Entries<'r, K, C> {
    pub(crate) fn new(
        product: Option<&'r Product>,
        (now_ms, observed_us): (i64, Option<i64>),
        (seen, predictor, pending): (&'r mut GenerationSet, &'r mut OrderPredictor, &'r mut PendingDevices),
        collect: C,
    ) -> Self {
        pending.clear();
        Self {
            kind: PhantomData,
            product,
            now_ms,
            observed_us,
            seen,
            predictor,
            pending,
            collect,
            points: 0,
            null_points: 0,
            fault: None,
        }
    }

    /// Keeps a fault of the entry, if its rank is the lowest or all are wanted.
    #[cold]
    pub(super) fn refuse(&mut self, entry: &mut Entry<'_>, rank: Rank, stop: Stop) -> Result<(), Syntax> {
        match (self.collect.faults(), stop) {
            (Some(faults), Stop::Fault(fault)) => {
                faults.rank(rank.order(), fault);
                Ok(())
            }
            (_, stop) => entry.refuse(rank, stop),
        }
    }

    /// A member came twice.
    #[cold]
    fn repeated(&mut self, entry: &mut Entry<'_>, offset: usize, name: &'static str, member: Member) {
        entry.repeated(offset, name, member);
        if let Some(faults) = self.collect.faults()
            && let Some((rank, fault)) = entry.fault.take()
        {
            faults.rank(rank.order(), fault);
        }
    }

    /// The entry has been read where all faults are wanted.
    #[cold]
    fn end_entry(&mut self, entry: &Entry<'_>, product: &Product) {
        let Some(faults) = self.collect.faults() else { return };
        if !faults.end_entry(|fault| with_place(fault, entry.known_device(product), entry.place)) {
            // Enough: from here on entries are only checked as JSON.
            self.fault = faults.entries.last().cloned();
        }
    }

    /// Reads `params`: an array of entries, or one object, which is one entry.
    pub(crate) fn read(&mut self, reader: &mut Reader<'r>) -> Result<(), Stop> {
        match reader.cursor.peek() {
            b'[' => {
                reader.cursor.open()?;
                let (mut first, mut place) = (true, Place { index: 0, in_array: true });
                while reader.cursor.next_element(&mut first)? {
                    self.entry(reader, place)?;
                    place.index += 1;
                }
                self.end(reader, place);
                Ok(())
            }
            b'{' => {
                self.entry(reader, Place { index: 0, in_array: false })?;
                self.end(reader, Place { index: 1, in_array: false });
                Ok(())
            }
            _ => Err(mismatch(&reader.cursor, Reason::Envelope, "array or object")),
        }
    }

    /// All entries have been read.
    #[inline]
    fn end(&mut self, reader: &Reader<'_>, end: Place) {
        if self.fault.is_none() && !self.pending.is_empty() {
            self.fault = self.fault_of_pending(reader.cursor.bytes(), end);
        }
    }

    #[inline]
    fn entry(&mut self, reader: &mut Reader<'r>, place: Place) -> Result<(), Syntax> {
        let Some(product) = self.product.filter(|_| self.fault.is_none()) else {
            return reader.cursor.skip_value();
        };
        let before = C::SKIPS.then_some((self.points, reader.early_times));
        let mut entry = Entry {
            place,
            seen: [false; Member::COUNT],
            device_key: DeviceKey::Default,
            time: None,
            fault: None,
        };
        if reader.cursor.peek() == b'{' {
            self.members(reader, product, &mut entry)?;
        } else {
            let stop = mismatch(&reader.cursor, Reason::Format, "object");
            self.refuse(&mut entry, Rank::Shape, stop)?;
            entry.device_key = DeviceKey::Unusable;
            reader.cursor.skip_value()?;
        }
        if let Some(observed_us) = self.observed_us {
            self.check_observed(observed_us, reader.cursor.offset() - 1, product, &mut entry)?;
        }
        if C::ALL {
            self.end_entry(&entry, product);
        } else if let Some((rank, fault)) = entry.fault.take() {
            if let Some((points, early_times)) = before
                && self.collect.skip_entry(self.points - points)
            {
                (self.points, reader.early_times) = (points, early_times);
                return Ok(());
            }
            self.end_faulty_entry(reader, &entry, product, (rank, fault));
        } else {
            self.collect.entry(|| device_key(entry.device_key, product), entry.time);
        }
        Ok(())
    }

    /// An entry has a fault: it is the request's unless an entry before it has one, or its own device,
    /// which is still being looked up, is unknown.
    #[cold]
    fn end_faulty_entry(
        &mut self,
        reader: &Reader<'_>,
        entry: &Entry<'_>,
        product: &Product,
        (rank, fault): (Rank, Box<Fault>),
    ) {
        let Place { index, in_array } = entry.place;
        let end = index + usize::from(rank > Rank::Member(Member::DeviceKey));
        self.end(reader, Place { index: end, in_array });
        if self.fault.is_none() {
            self.fault = Some(with_place(fault, entry.known_device(product), entry.place));
        }
    }

    fn members(
        &mut self,
        reader: &mut Reader<'r>,
        product: &'r Product,
        entry: &mut Entry<'r>,
    ) -> Result<(), Syntax> {
        let table = const { &K::TABLE };
        reader.cursor.open()?;
        let mut first = true;
        while let Some((start, member)) = reader.cursor.next_known_member(&mut first, table.spelled)? {
            let Some(member) = member.map(|index| table.members[index]) else {
                reader.cursor.skip_value()?;
                continue;
            };
            if std::mem::replace(&mut entry.seen[member as usize], true) {
                self.repeated(entry, start, table.name_of(member), member);
                reader.cursor.skip_value()?;
                continue;
            }
            let start = reader.cursor.clone();
            let checked = match member {
                Member::Points => self.points(reader, product),
                Member::DeviceKey => self.device_key(reader, product, entry),
                Member::Time => self.time(reader, product).map(|time| entry.time = time),
            };
            if let Err(stop) = checked {
                self.refuse(entry, Rank::Member(member), stop.inside(table.name_of(member)))?;
                reader.cursor = start;
                reader.cursor.skip_value()?;
            }
        }
        let end = reader.cursor.offset() - 1;
        for member in [Member::Points, Member::DeviceKey] {
            if !entry.seen[member as usize]
                && let Err(stop) = missing(end, product, member)
            {
                self.refuse(entry, Rank::Member(member), stop.inside(table.name_of(member)))?;
            }
        }
        Ok(())
    }
}

/// Judges an entry without this member.
#[cold]
fn missing(offset: usize, product: &Product, member: Member) -> Result<(), Stop> {
    if member == Member::DeviceKey {
        return super::device_key::check_default(offset, product, "no deviceKey");
    }
    Err(Fault::here(Reason::Format, offset).expected("object").got("no such member").into())
}

/// The decoded device key of a valid entry.
fn device_key<'r>(device_key: DeviceKey<'r>, product: &'r Product) -> Cow<'r, str> {
    match (device_key, &product.settings.default_device) {
        (DeviceKey::Given(text), _) => text.decode(),
        (DeviceKey::Default, Some(default)) => default.into(),
        (DeviceKey::Default, None) | (DeviceKey::Unusable, _) => unreachable!("a fault of the entry"),
    }
}

/// A fault of the entry with index, device and path of the entry.
#[cold]
pub(super) fn with_place(
    mut fault: Box<Fault>,
    device_key: Option<String>,
    Place { index, in_array }: Place,
) -> Box<Fault> {
    fault.index = Some(index);
    fault.device_key = device_key;
    if in_array {
        fault = fault.inside(index);
    }
    fault.inside("params")
}

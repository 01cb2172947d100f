//! All faults of a request, in the contract's order, instead of the first one.
//!
//! [`FaultList`] is a [`Collect`], so the judge is compiled a third time: where a check finds a
//! fault, it keeps the fault, goes behind the value and continues. In the other two compilations
//! [`Collect::ALL`] is false, and none of that exists.
//!
//! ```text
//! kept      faults inside the present point, while its value is checked
//! ranked    faults of the present entry, with their order (contract 3.2)
//! entries   faults of the entries before
//! envelope  faults of the envelope, which come before all of them
//! ```
//!
//! Of each of them only so many are kept, one more than is wanted; then the rest is only checked as
//! JSON.

use std::borrow::Cow;

use crate::collect::Collect;
use crate::json::Text;
use crate::reader::Reader;

use super::at_value::has_value;
use super::{Fault, Segment, Stop};

/// All faults of a request, up to a limit.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "faults are boxed where they are found")]
pub(crate) struct FaultList {
    pub(crate) most: usize,
    /// Whether faults of points are left out: they do not reject the request (contract 11).
    pub(crate) skips_points: bool,
    /// Each with whether it is an object with `value` in place of a value.
    pub(crate) kept: Vec<(Box<Fault>, bool)>,
    ranked: Vec<(u8, Box<Fault>)>,
    pub(crate) entries: Vec<Box<Fault>>,
    pub(crate) envelope: Vec<Box<Fault>>,
}

impl FaultList {
    /// Keeps one fault more than this, which shows that there are more.
    pub(crate) fn new(most: usize, skips_points: bool) -> Self {
        Self { most, skips_points, ..Self::default() }
    }

    /// Keeps a fault inside the present point; the cursor stands where the check has stopped.
    pub(crate) fn keep(&mut self, stop: Stop, reader: &Reader<'_>) -> Result<(), Stop> {
        let Stop::Fault(fault) = stop else { return Err(stop) };
        let is_object_with_value = fault.offset == reader.cursor.offset() && has_value(&reader.cursor);
        if self.kept.len() <= self.most {
            self.kept.push((fault, is_object_with_value));
        }
        Ok(())
    }

    /// The faults that were kept since `mark` are inside this member or element.
    pub(crate) fn inside(&mut self, mark: usize, segment: &Segment) {
        for (fault, _) in &mut self.kept[mark..] {
            if let Some(path) = &mut fault.path {
                path.push(segment.clone());
            }
        }
    }

    /// Adds a fault of the present entry; false if there are enough of this order.
    pub(crate) fn rank(&mut self, order: u8, fault: Box<Fault>) -> bool {
        let same = self.ranked.iter().filter(|(other, _)| *other == order).count();
        if same <= self.most {
            self.ranked.push((order, fault));
        }
        same < self.most
    }

    /// The entry has been read: its faults, completed by `place`, in their order. False if there
    /// are enough.
    pub(crate) fn end_entry(&mut self, place: impl Fn(Box<Fault>) -> Box<Fault>) -> bool {
        let mut ranked = std::mem::take(&mut self.ranked);
        ranked.sort_by_key(|(order, _)| *order);
        self.entries.extend(ranked.into_iter().map(|(_, fault)| place(fault)));
        self.entries.truncate(self.most + 1);
        self.entries.len() <= self.most
    }

    /// Moves the envelope's fault to the list, unless there are enough.
    pub(crate) fn take_envelope(&mut self, fault: &mut Option<Box<Fault>>) {
        if self.envelope.len() <= self.most {
            self.envelope.extend(fault.take());
        }
    }
}

impl Collect for FaultList {
    const ALL: bool = true;

    fn faults(&mut self) -> Option<&mut FaultList> {
        Some(self)
    }
    fn double(&mut self, _: f64) {}
    fn long(&mut self, _: i64) {}
    fn boolean(&mut self, _: bool) {}
    fn text(&mut self, _: Text<'_>) {}
    fn json<'t>(&mut self, _: impl FnOnce() -> Cow<'t, [u8]>) {}
    fn quality(&mut self, _: u8) {}
    fn discard(&mut self) {}
    fn point<'m>(&mut self, _: usize, _: impl FnOnce() -> &'m str) {}
    fn entry<'m>(&mut self, _: impl FnOnce() -> Cow<'m, str>, _: Option<i64>) {}
}

/// Checks a value inside another one where all faults are wanted: keeps its faults, goes behind it.
#[cold]
pub(crate) fn check_all(
    check: impl FnOnce(&mut Reader<'_>, &mut FaultList) -> Result<(), Stop>,
    segment: &Segment,
    reader: &mut Reader<'_>,
    faults: &mut FaultList,
) -> Result<(), Stop> {
    let (start, mark) = (reader.cursor.clone(), faults.kept.len());
    if let Err(stop) = check(reader, faults) {
        faults.keep(stop, reader)?;
        reader.cursor = start;
        reader.cursor.skip_value()?;
    }
    faults.inside(mark, segment);
    Ok(())
}

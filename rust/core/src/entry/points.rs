//! The points of an entry: the judge's inner loop (contract 3.2, 3.6, 5).
//!
//! ```text
//! for each point:
//!     compare the text with the point that came next last time: first as `,"name":`, which is one
//!         comparison, then behind white space
//!     only if it is another one: read the name, look it up
//!     check the value by the point's rule
//! ```

use crate::catalog::Product;
use crate::collect::Collect;
use crate::fault::at_value::{has_value, mismatch};
use crate::fault::{Fault, Reason, Stop};
use crate::json::Cursor;
use crate::kind::{Kind, Member};
use crate::model::{Point, Section};
use crate::reader::Reader;
use crate::rule::{Check, check_with_quality, is_ignored_null};

use super::Entries;
use super::entries::Rank;

impl<K: Kind, C: Collect> Entries<'_, K, C> {
    /// Reads the points of an entry. A fault's path begins behind the member that has them.
    #[inline(always)]
    pub(super) fn points(&mut self, reader: &mut Reader<'_>, product: &Product) -> Result<(), Stop> {
        if reader.cursor.peek() != b'{' {
            return Err(mismatch(&reader.cursor, Reason::Format, "object"));
        }
        let points = K::section(&product.model).len();
        self.seen.clear(points);
        self.predictor.begin(points);
        let before = self.points;
        reader.cursor.open()?;
        let mut resume = 0;
        // An ignored null point leaves the loop as a fault does, so that it costs the other points
        // nothing.
        loop {
            match self.points_behind(reader, product, &mut resume) {
                Err(Stop::NullPoint) => {
                    self.collect.discard();
                    self.null_points += 1;
                }
                Err(stop) => return Err(stop),
                Ok(()) => {
                    self.predictor.end(self.points - before);
                    return Ok(());
                }
            }
        }
    }

    /// Reads points behind the place `resume`, which is 0 at the beginning and `index + 1` behind a
    /// point. A fault sets it to the place behind its point.
    fn points_behind(
        &mut self,
        reader: &mut Reader<'_>,
        product: &Product,
        resume: &mut usize,
    ) -> Result<(), Stop> {
        let mut place = *resume;
        let section = K::section(&product.model);
        let Self { seen, predictor, collect, points, .. } = self;
        let (seen, predictor) = (&mut **seen, &mut **predictor);
        let mut first = place == 0;
        let predicts = predictor.predicts();
        loop {
            // Where the name stands, if there is only a comma before it.
            let mut start = reader.cursor.offset() + usize::from(!first);
            let predicted = if predicts { predictor.after(place) } else { usize::MAX };
            let mut index = predicted;
            let taken = if predicts {
                section.point(predicted).is_some_and(|point| reader.cursor.take_next_name(&point.name, first))
            } else {
                match section.take_name(&mut reader.cursor, first) {
                    Some(found) => {
                        index = found;
                        true
                    }
                    None => false,
                }
            };
            if !taken {
                if !reader.cursor.next_member(&mut first)? {
                    return Ok(());
                }
                start = reader.cursor.offset();
                let predicted = section.point(predicted);
                if !predicted.is_some_and(|point| reader.cursor.take_name(&point.name)) {
                    let found = match find_point(section, product, reader, collect)? {
                        Found::Point(found) => found,
                        Found::Ignored => continue,
                        Found::Unknown(stop) if C::ALL => {
                            next_point::<K, _>(stop, reader, collect)?;
                            continue;
                        }
                        Found::Unknown(stop) => return Err(stop),
                    };
                    if predicts {
                        predictor.learn(place, found);
                    }
                    index = found;
                }
            }
            first = false;
            let Some(point) = section.point(index) else {
                unreachable!("the section has every point that it finds")
            };
            if !seen.insert(index) {
                if C::SKIPS {
                    skip_point(reader, collect)?;
                    continue;
                }
                let stop = repeated_point(start, section.identifier(index));
                if !C::ALL {
                    return Err(stop);
                }
                next_point::<K, _>(stop, reader, collect)?;
                continue;
            }
            if C::ALL {
                *resume = index + 1;
                let identifier = section.identifier(index);
                all_of_point::<K, _>(point, identifier, reader, collect)?;
                place = index + 1;
                continue;
            }
            if C::SKIPS {
                *resume = index + 1;
                if check_or_skip(point, reader, collect)? {
                    collect.point(index, || section.identifier(index));
                    *points += 1;
                }
                place = index + 1;
                continue;
            }
            if let Err(stop) = check_point(point, reader, collect) {
                *resume = index + 1;
                return Err(refine(stop, point, section.identifier(index), reader));
            }
            collect.point(index, || section.identifier(index));
            *points += 1;
            place = index + 1;
        }
    }
}

/// What a name that was not predicted stands for.
enum Found {
    /// The point with this index.
    Point(usize),
    /// A point that the model lacks, and that is ignored or skipped; its value was skipped.
    Ignored,
    /// A point that the model lacks; the cursor stands on its value.
    Unknown(Stop),
}

/// Reads a point's name that was not predicted.
#[inline(never)]
fn find_point<C: Collect>(
    section: &Section,
    product: &Product,
    reader: &mut Reader<'_>,
    collect: &mut C,
) -> Result<Found, Stop> {
    if let Some(index) = section.take_name(&mut reader.cursor, true) {
        return Ok(Found::Point(index));
    }
    let name_at = reader.cursor.offset();
    let name = reader.cursor.string()?;
    reader.cursor.colon()?;
    match section.find(name.bytes_in(reader.buffer)) {
        Some(index) => Ok(Found::Point(index)),
        None if product.ignores_unknown_points(section) => {
            reader.cursor.skip_value()?;
            Ok(Found::Ignored)
        }
        // Without its fault, whose suggestion would make the time quadratic.
        None if C::SKIPS => skip_point(reader, collect).map(|()| Found::Ignored),
        None => Ok(Found::Unknown(unknown_point(name_at, &reader.cursor, section))),
    }
}

#[inline]
fn check_point<C: Collect>(point: &Point, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
    if point.quality {
        check_with_quality(&point.rule, reader, collect)
    } else {
        point.rule.check(reader, collect)
    }
}

/// Skips a faulty point, on whose value the cursor stands.
#[cold]
fn skip_point<C: Collect>(reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
    collect.skip_point();
    Ok(reader.cursor.skip_value()?)
}

/// Checks a point, or skips it if it is faulty; returns whether it is valid.
fn check_or_skip<C: Collect>(point: &Point, reader: &mut Reader<'_>, collect: &mut C) -> Result<bool, Stop> {
    let (start, early_times) = (reader.cursor.clone(), reader.early_times);
    match check_point(point, reader, collect) {
        Ok(()) => Ok(true),
        Err(stop) if is_ignored_null(&stop, reader) => {
            reader.cursor.literal("null")?;
            Err(Stop::NullPoint)
        }
        Err(Stop::Fault(_)) => {
            collect.discard();
            (reader.cursor, reader.early_times) = (start, early_times);
            skip_point(reader, collect)?;
            Ok(false)
        }
        Err(stop) => Err(stop),
    }
}

/// Keeps a fault of a point where all faults are wanted, and goes behind its value, on which the
/// cursor stands.
#[cold]
fn next_point<K: Kind, C: Collect>(stop: Stop, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
    keep_point::<K, _>(stop, collect)?;
    Ok(reader.cursor.skip_value()?)
}

/// Keeps a fault of the present entry's points; returns it if there are enough.
#[cold]
fn keep_point<K: Kind, C: Collect>(stop: Stop, collect: &mut C) -> Result<(), Stop> {
    let (Stop::Fault(fault), Some(faults)) = (stop, collect.faults()) else {
        unreachable!("a fault, where all are wanted")
    };
    if faults.skips_points {
        return Ok(());
    }
    let order = Rank::Member(Member::Points).order();
    if faults.rank(order, fault.clone().inside(K::TABLE.name_of(Member::Points))) {
        return Ok(());
    }
    Err(fault.into())
}

/// Checks a point where all faults are wanted: keeps its faults, and goes behind its value.
#[cold]
fn all_of_point<K: Kind, C: Collect>(
    point: &Point,
    identifier: &str,
    reader: &mut Reader<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    let start = reader.cursor.clone();
    let checked = check_point(point, reader, collect);
    let kept = collect.faults().map(|faults| std::mem::take(&mut faults.kept));
    for (fault, is_object) in kept.into_iter().flatten() {
        keep_point::<K, _>(at_point(advise(fault, point, is_object).into(), identifier), collect)?;
    }
    match checked.map_err(|stop| refine(stop, point, identifier, reader)) {
        Ok(()) => Ok(()),
        Err(Stop::Fault(fault)) => {
            keep_point::<K, _>(fault.into(), collect)?;
            reader.cursor = start;
            Ok(reader.cursor.skip_value()?)
        }
        Err(stop) => Err(stop),
    }
}

#[cold]
fn repeated_point(offset: usize, identifier: &str) -> Stop {
    let fault = Fault::here(Reason::Duplicate, offset).expected("the identifier once");
    at_point(fault.got("the identifier again").into(), identifier)
}

/// The fault of a point that the model lacks; `offset` is that of its name.
#[cold]
fn unknown_point(offset: usize, cursor: &Cursor<'_>, section: &Section) -> Stop {
    // Reading the name once more here keeps it out of the loop's registers.
    let mut cursor = cursor.clone();
    cursor.rewind_to(offset);
    let name = match cursor.string() {
        Ok(name) => name.decode(),
        Err(syntax) => return syntax.into(),
    };
    let mut fault =
        Fault::here(Reason::UnknownPoint, offset).expected("a point of the model").got_text(&name);
    fault.did_you_mean = section.suggest(&name).map(str::to_owned);
    at_point(fault.into(), &name)
}

/// Turns what stopped a point's check into the entry's: a fault with the point's path and, for
/// frequent mistakes, with advice; or [`Stop::NullPoint`], with the cursor behind the value, if the
/// product ignores it (contract 5.3).
#[cold]
fn refine(stop: Stop, point: &Point, identifier: &str, reader: &mut Reader<'_>) -> Stop {
    if is_ignored_null(&stop, reader) {
        return reader.cursor.literal("null").map_or_else(Stop::from, |()| Stop::NullPoint);
    }
    match stop {
        Stop::NullPoint => Stop::NullPoint,
        Stop::Fault(fault) => {
            let is_object =
                !point.quality && fault.offset == reader.cursor.offset() && has_value(&reader.cursor);
            at_point(advise(fault, point, is_object).into(), identifier)
        }
        stop @ Stop::Syntax(_) => at_point(stop, identifier),
    }
}

/// The fault with advice for frequent mistakes; `is_object`: an object with `value` came instead.
#[cold]
fn advise(fault: Box<Fault>, point: &Point, is_object: bool) -> Box<Fault> {
    if !point.quality && is_object {
        let name = point.rule.name_without_quality();
        let advice =
            name.map(|name| format!("object with \"value\"; {name} has no quality: send the bare value"));
        return fault.got_in_message(advice);
    }
    if fault.is_null(&[]) || point.quality && fault.is_null(&["value".into()]) {
        return fault.got_in_message(Some("null; leave out a point that has no value".to_owned()));
    }
    fault
}

/// Adds the point to a fault's path.
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

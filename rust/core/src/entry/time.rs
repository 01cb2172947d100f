//! `time`: UTC milliseconds within the product's window (contract 3.5).

use crate::catalog::Product;
use crate::collect::Collect;
use crate::fault::at_value::{refused, shown_number};
use crate::fault::{Fault, Reason, Stop};
use crate::json::Syntax;
use crate::kind::{Kind, Member};
use crate::reader::Reader;
use crate::rule::{EARLY, MAX_TIME, milliseconds, with_likely_unit};

use super::Entries;
use super::entries::{Entry, Rank};

const EXPECTED: &str = "integer UTC milliseconds from 0 to 253402300799999";

impl<'r, K: Kind, C: Collect> Entries<'r, K, C> {
    /// Reads an entry's time; `None` if it is null.
    pub(super) fn time(&self, reader: &mut Reader<'_>, product: &Product) -> Result<Option<i64>, Stop> {
        if reader.cursor.peek() == b'n' {
            reader.cursor.literal("null")?;
            return Ok(None);
        }
        let start = reader.cursor.offset();
        let Some(time) = reader.number()?.and_then(milliseconds) else {
            reader.cursor.rewind_to(start);
            return Err(with_likely_unit(refused(&reader.cursor, Reason::Time, EXPECTED)));
        };
        if time < product.usual_times_from {
            self.check_window(time, product)
                .map_err(|fault| fault.at(start).got(shown_number(&reader.cursor, start)))
                .map_err(|fault| with_likely_unit(fault.into()))?;
            reader.early_times += u64::from(time < EARLY);
        }
        Ok(Some(time))
    }

    /// Checks the time that an entry without one has from its request.
    #[cold]
    pub(super) fn check_observed(
        &mut self,
        observed_us: i64,
        offset: usize,
        product: &Product,
        entry: &mut Entry<'r>,
    ) -> Result<(), Syntax> {
        if entry.time.is_some() {
            return Ok(());
        }
        let time = observed_us.div_euclid(1000);
        self.check_window(time, product).or_else(|fault| {
            let fault = fault.at(offset).got(time.to_string()).inside("time");
            self.refuse(entry, Rank::Member(Member::Time), fault.into())
        })
    }

    /// Checks a time against the product's window; both ends belong to it. The fault has no offset
    /// yet.
    #[inline(never)]
    fn check_window(&self, time: i64, product: &Product) -> Result<(), Box<Fault>> {
        let settings = &product.settings;
        let past = settings.time_max_past.map_or(0, |past| self.now_ms.saturating_sub(past));
        let low = past.max(settings.time_min.unwrap_or(0));
        let high = settings.time_max_future.map_or(MAX_TIME, |future| self.now_ms.saturating_add(future));
        if low <= time && time <= high {
            return Ok(());
        }
        let expected = format!("a time from {} to {}", low.max(0), high.min(MAX_TIME));
        Err(Fault::here(Reason::Time, 0).expected(expected))
    }
}

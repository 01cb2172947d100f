//! The envelope: the members of a request around its entries (contract 3.1).

use std::ops::Range;

use crate::collect::Collect;
use crate::entry::Entries;
use crate::fault::at_value::mismatch;
use crate::fault::{Fault, Reason, Stop};
use crate::json::{Cursor, Syntax};
use crate::kind::Kind;
use crate::limits::MAX_ID;
use crate::reader::Reader;

/// What is known of the envelope.
#[derive(Default)]
pub(crate) struct Envelope {
    /// Range of the id token in the payload.
    pub(crate) id: Option<Range<usize>>,
    /// Which of [`MEMBERS`] have been read.
    seen: [bool; MEMBERS.len()],
    /// The first envelope fault in the text.
    pub(crate) fault: Option<Box<Fault>>,
    /// The fault of another method, which comes after those of the envelope.
    pub(crate) method_fault: Option<Box<Fault>>,
}

const MEMBERS: [&str; 4] = ["id", "version", "method", "params"];
const SPELLED: [&str; 4] = ["\"id\":", "\"version\":", "\"method\":", "\"params\":"];
const REQUIRED: [usize; 3] = [1, 2, 3];

impl Envelope {
    pub(crate) fn read<'r, K: Kind, C: Collect>(
        &mut self,
        reader: &mut Reader<'r>,
        entries: &mut Entries<'r, K, C>,
    ) -> Result<(), Syntax> {
        reader.cursor.begin()?;
        if reader.cursor.peek() != b'{' {
            self.refuse(mismatch(&reader.cursor, Reason::Envelope, "object"), None)?;
            self.keep_all(entries);
            reader.cursor.skip_value()?;
            return reader.cursor.finish();
        }
        reader.cursor.open()?;
        let mut first = true;
        while let Some((start, member)) = reader.cursor.next_known_member(&mut first, &SPELLED)? {
            match member {
                Some(member) => self.member(start, member, reader, entries)?,
                None => reader.cursor.skip_value()?,
            }
        }
        let end = reader.cursor.offset() - 1;
        for member in REQUIRED {
            if !self.seen[member] && self.fault.is_none() {
                let name = MEMBERS[member];
                let fault = Fault::here(Reason::Envelope, end).expected(format!("a member \"{name}\""));
                self.fault = Some(fault.got("no such member").inside(name));
                self.keep_all(entries);
            }
        }
        reader.cursor.finish()
    }

    fn member<'r, K: Kind, C: Collect>(
        &mut self,
        name_at: usize,
        member: usize,
        reader: &mut Reader<'r>,
        entries: &mut Entries<'r, K, C>,
    ) -> Result<(), Syntax> {
        let name = MEMBERS[member];
        if std::mem::replace(&mut self.seen[member], true) {
            // Only the first fault is kept, so only one is built, however often members repeat.
            if self.fault.is_none() {
                let fault = Fault::here(Reason::Envelope, name_at).expected("the member once");
                self.fault = Some(fault.got("the member again").inside(name));
                self.keep_all(entries);
            }
            return reader.cursor.skip_value();
        }
        let start = reader.cursor.clone();
        let judged = match name {
            "id" => self.id(&mut reader.cursor),
            "method" => self.method(&mut reader.cursor, K::TABLE.method),
            "params" => entries.read(reader),
            _ => version(&mut reader.cursor),
        };
        if let Err(stop) = judged {
            self.refuse(stop, Some(name))?;
            self.keep_all(entries);
            reader.cursor = start;
            reader.cursor.skip_value()?;
        }
        Ok(())
    }

    /// Makes room for the next fault, where all are wanted.
    #[cold]
    fn keep_all<K: Kind, C: Collect>(&mut self, entries: &mut Entries<'_, K, C>) {
        if let Some(faults) = entries.collect.faults() {
            faults.take_envelope(&mut self.fault);
        }
    }

    /// Keeps the fault if it is the first one.
    #[cold]
    fn refuse(&mut self, stop: Stop, member: Option<&str>) -> Result<(), Syntax> {
        match stop {
            Stop::Syntax(syntax) => Err(syntax),
            Stop::NullPoint => unreachable!("the loop over points handles its null points"),
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
        match cursor.peek() {
            b'n' => return Ok(cursor.literal("null")?),
            b'"' => drop(cursor.string()?),
            b'-' | b'0'..=b'9' => {
                cursor.number()?;
                // Without a delimiter behind it the number may be truncated: it is not echoed.
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

    #[inline(always)]
    fn method(&mut self, cursor: &mut Cursor<'_>, expected: &'static str) -> Result<(), Stop> {
        if cursor.take_string(expected) {
            return Ok(());
        }
        let start = cursor.offset();
        if cursor.peek() != b'"' {
            return Err(mismatch(cursor, Reason::Envelope, "string"));
        }
        let method = cursor.string()?;
        if !method.is(expected) {
            let fault = Fault::here(Reason::Method, start).expected(expected).got_text(&method.decode());
            self.method_fault = Some(fault.inside("method"));
        }
        Ok(())
    }
}

/// Any string is accepted: clients send "1.0" and "1.1".
fn version(cursor: &mut Cursor<'_>) -> Result<(), Stop> {
    if cursor.take_string("1.0") {
        return Ok(());
    }
    if cursor.peek() != b'"' {
        return Err(mismatch(cursor, Reason::Envelope, "string"));
    }
    cursor.string()?;
    Ok(())
}

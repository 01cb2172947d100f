//! STRUCT: an object whose members have a rule each (contract 5).

use crate::collect::Collect;
use crate::display::quoted;
use crate::fault::at_value::type_fault;
use crate::fault::list::FaultList;
use crate::fault::{Fault, Reason, Stop};
use crate::interner::Interner;
use crate::json::{Cursor, MemberName};
use crate::reader::Reader;

use super::check::{check_inside, go_on};
use super::stored::members_with_numbers;
use super::{Check, Rule};

/// One member of a struct.
#[derive(Clone, Debug)]
struct Member {
    /// Spelled as in nearly every payload.
    name: MemberName,
    required: bool,
    rule: Rule,
}

/// An object with these members and, unless the model allows additional members, no others.
///
/// Required members are counted as they come, so the time for an object does not depend on how many
/// members the model has.
#[derive(Clone, Debug, Default)]
pub(crate) struct StructRule {
    names: Interner,
    /// By the number of their name: the model's order, in which missing members are reported.
    members: Vec<Member>,
    required: usize,
    /// Whether members that the model lacks are accepted; they are only checked as JSON.
    additional: bool,
}

/// What the next member of an object is.
enum Next<'m> {
    Known {
        name_at: usize,
        index: usize,
        member: &'m Member,
    },
    /// Not in the model, which allows additional members.
    Additional,
    End,
}

impl StructRule {
    pub(crate) fn new(additional: bool) -> Self {
        Self { additional, ..Self::default() }
    }

    /// Adds a member; false if there is one of that name.
    pub(crate) fn add(&mut self, identifier: &str, required: bool, rule: Rule) -> bool {
        let is_new = self.names.insert(identifier);
        if is_new {
            self.members.push(Member { name: MemberName::new(identifier), required, rule });
            self.required += usize::from(required);
        }
        is_new
    }

    /// The rule of the member of this name.
    pub(super) fn rule_of(&self, name: &str) -> Option<&Rule> {
        self.names.find(name.as_bytes()).map(|index| &self.members[index].rule)
    }

    /// Reads the next member's name and its colon. `expected` is the member that comes next in the
    /// model's order.
    #[inline(always)]
    fn next_member(
        &self,
        reader: &mut Reader<'_>,
        first: &mut bool,
        expected: usize,
    ) -> Result<Next<'_>, Stop> {
        // Most senders keep the model's order, so the expected name is compared before any is
        // looked up.
        let guess = self.members.get(expected);
        let end = reader.cursor.offset();
        if let Some(member) = guess
            && reader.cursor.take_next_name(&member.name, *first)
        {
            let name_at = end + usize::from(!std::mem::take(first));
            return Ok(Next::Known { name_at, index: expected, member });
        }
        if !reader.cursor.next_member(first)? {
            return Ok(Next::End);
        }
        let name_at = reader.cursor.offset();
        if let Some(member) = guess
            && reader.cursor.take_name(&member.name)
        {
            return Ok(Next::Known { name_at, index: expected, member });
        }
        let name = reader.cursor.string()?;
        reader.cursor.colon()?;
        match self.names.find(name.bytes_in(reader.buffer)) {
            Some(index) => Ok(Next::Known { name_at, index, member: &self.members[index] }),
            None if self.additional => Ok(Next::Additional),
            None => Err(unknown_member(name_at, &name.decode(), self.names.iter())),
        }
    }

    /// The fault of an object that lacks a required member.
    #[cold]
    fn missing(&self, reader: &mut Reader<'_>) -> Stop {
        let mut members = self.members.iter().enumerate();
        let missing = members.find(|(index, member)| member.required && reader.members.insert(*index));
        let Some((index, _)) = missing else { unreachable!("fewer required members came than there are") };
        missing_member(&reader.cursor, self.names.name(index))
    }

    /// The faults of an object that lacks required members.
    #[cold]
    fn all_missing(&self, reader: &mut Reader<'_>, faults: &mut FaultList) -> Result<(), Stop> {
        for (index, member) in self.members.iter().enumerate() {
            if member.required && reader.members.insert(index) {
                faults.keep(missing_member(&reader.cursor, self.names.name(index)), reader)?;
            }
        }
        Ok(())
    }
}

impl Check for StructRule {
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        if reader.cursor.peek() != b'{' {
            return Err(type_fault(&reader.cursor, "STRUCT"));
        }
        let start = reader.cursor.offset();
        reader.cursor.open()?;
        reader.members.clear(self.members.len());
        let (mut first, mut required, mut expected) = (true, 0, 0);
        loop {
            let next = match self.next_member(reader, &mut first, expected) {
                Ok(next) => next,
                Err(stop) => {
                    go_on(stop, reader, collect)?;
                    continue;
                }
            };
            match next {
                Next::Known { name_at, index, member } => {
                    if !reader.members.insert(index) {
                        go_on(repeated(name_at, self.names.name(index)), reader, collect)?;
                        continue;
                    }
                    check_inside(&member.rule, self.names.name(index), reader, collect)?;
                    required += usize::from(member.required);
                    expected = index + 1;
                }
                Next::Additional => reader.cursor.skip_value()?,
                Next::End => break,
            }
        }
        if required != self.required {
            if let Some(faults) = collect.faults() {
                return self.all_missing(reader, faults);
            }
            return Err(self.missing(reader));
        }
        collect.json(|| {
            let token = reader.cursor.bytes_from(start);
            if reader.settings.numbers_as_strings { members_with_numbers(self, token) } else { token.into() }
        });
        Ok(())
    }
}

/// The fault of an object without this member; the cursor stands behind the closing brace.
#[cold]
pub(super) fn missing_member(cursor: &Cursor<'_>, name: &str) -> Stop {
    Fault::here(Reason::MissingMember, cursor.offset() - 1)
        .expected(format!("member {}", quoted(name)))
        .got("no such member")
        .inside(name)
        .into()
}

/// The fault of an object with a member that is none of `members`; `offset` is that of its name.
#[cold]
pub(super) fn unknown_member<'m>(offset: usize, name: &str, members: impl Iterator<Item = &'m str>) -> Stop {
    let known: Vec<_> = members.take(8).map(quoted).collect();
    Fault::here(Reason::UnknownMember, offset)
        .expected(format!("members {}", known.join(", ")))
        .got_text(name)
        .inside(name)
        .into()
}

/// The fault of an object with this member twice; `offset` is that of the second name.
#[cold]
pub(super) fn repeated(offset: usize, name: &str) -> Stop {
    Fault::here(Reason::Duplicate, offset)
        .expected("the name once")
        .got("the same name again")
        .inside(name)
        .into()
}

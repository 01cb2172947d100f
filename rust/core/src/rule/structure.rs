//! STRUCT: members by name, each with a rule of its own (contract 5).

use crate::display::quoted;
use crate::json::Cursor;
use crate::names::Names;
use crate::verdict::{Fault, Reason, Stop};

use super::{Context, Rule, type_fault};

/// One member of a struct.
#[derive(Clone, Debug)]
struct Member {
    required: bool,
    rule: Rule,
}

/// An object with these members and no others.
///
/// Time does not depend on how many members the model has: names are looked up, and required members are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct StructRule {
    names: Names,
    /// In the model's order, in which missing ones are reported.
    members: Vec<Member>,
    required: usize,
}

impl StructRule {
    /// Adds a member; false when there is one of that name.
    pub(crate) fn add(&mut self, identifier: &str, required: bool, rule: Rule) -> bool {
        let is_new = self.names.insert(identifier);
        if is_new {
            self.members.push(Member { required, rule });
            self.required += usize::from(required);
        }
        is_new
    }

    pub(crate) fn check(&self, cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<(), Stop> {
        if cursor.peek() != b'{' {
            return Err(type_fault(cursor, "STRUCT"));
        }
        cursor.open()?;
        context.members.begin(self.members.len());
        let (mut first, mut required) = (true, 0);
        while cursor.next_member(&mut first)? {
            required += usize::from(self.check_member(cursor, context)?);
        }
        if required == self.required { Ok(()) } else { Err(self.missing(cursor, context)) }
    }

    /// Judges one member; returns whether it is a required one.
    fn check_member(&self, cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<bool, Stop> {
        let start = cursor.offset();
        let name = cursor.string()?;
        cursor.colon()?;
        let name = name.decode_in(context.buffer);
        let Some((index, member)) =
            self.names.find(name).and_then(|index| Some((index, self.members.get(index)?)))
        else {
            return Err(unknown_member(start, name, self.names.iter()));
        };
        let identifier = self.names.get(index).unwrap_or_default();
        if !context.members.mark(index) {
            return Err(repeated(start, identifier));
        }
        member.rule.check(cursor, context).map_err(|stop| stop.inside(identifier))?;
        Ok(member.required)
    }

    #[cold]
    fn missing(&self, cursor: &Cursor<'_>, context: &mut Context<'_>) -> Stop {
        let mut members = self.members.iter().enumerate();
        let missing = members.find(|(index, member)| member.required && context.members.mark(*index));
        let name = missing.and_then(|(index, _)| self.names.get(index)).unwrap_or_default();
        missing_member(cursor, name)
    }
}

/// The cursor stands just behind the brace that closes the object.
#[cold]
pub(crate) fn missing_member(cursor: &Cursor<'_>, name: &str) -> Stop {
    Fault::here(Reason::MissingMember, cursor.offset() - 1)
        .expected(format!("member {}", quoted(name)))
        .got("no such member")
        .inside(name)
        .into()
}

#[cold]
pub(crate) fn unknown_member<'m>(offset: usize, name: &str, members: impl Iterator<Item = &'m str>) -> Stop {
    let known: Vec<_> = members.take(8).map(quoted).collect();
    Fault::here(Reason::UnknownMember, offset)
        .expected(format!("members {}", known.join(", ")))
        .got_text(name)
        .inside(name)
        .into()
}

#[cold]
pub(crate) fn repeated(offset: usize, name: &str) -> Stop {
    Fault::here(Reason::Duplicate, offset)
        .expected("the name once")
        .got("the same name again")
        .inside(name)
        .into()
}

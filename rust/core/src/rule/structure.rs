//! STRUCT: members by name, each with a rule of its own (contract 5).

use crate::display::quoted;
use crate::json::Cursor;
use crate::verdict::{Fault, Reason, Stop};

use super::{Context, Rule, type_fault};

/// One member of a struct.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) identifier: Box<str>,
    pub(crate) required: bool,
    pub(crate) rule: Rule,
}

/// An object with these members and no others.
#[derive(Clone, Debug)]
pub(crate) struct StructRule {
    /// In the model's order, in which missing ones are reported.
    pub(crate) members: Box<[Member]>,
}

impl StructRule {
    pub(crate) fn check(&self, cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<(), Stop> {
        if cursor.peek() != b'{' {
            return Err(type_fault(cursor, "STRUCT"));
        }
        cursor.open()?;
        context.members.begin(self.members.len());
        let mut first = true;
        while cursor.next_member(&mut first)? {
            self.check_member(cursor, context)?;
        }
        for (index, member) in self.members.iter().enumerate() {
            if member.required && context.members.mark(index) {
                return Err(missing_member(cursor, &member.identifier));
            }
        }
        Ok(())
    }

    fn check_member(&self, cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<(), Stop> {
        let start = cursor.offset();
        let name = cursor.string()?;
        cursor.colon()?;
        // A struct has a handful of members: looking along them is faster than hashing.
        let Some((index, member)) =
            self.members.iter().enumerate().find(|(_, member)| name.is(&member.identifier))
        else {
            let members = self.members.iter().map(|member| &*member.identifier);
            return Err(unknown_member(start, &name.decode(), members));
        };
        let identifier = &*member.identifier;
        if !context.members.mark(index) {
            return Err(repeated(start, identifier));
        }
        member.rule.check(cursor, context).map_err(|stop| stop.inside(identifier))
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

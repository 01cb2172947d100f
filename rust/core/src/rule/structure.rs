//! STRUCT: members by name, each with a rule of its own (contract 5).

use crate::collect::Collect;
use crate::display::quoted;
use crate::json::{Cursor, MemberName};
use crate::names::Names;
use crate::verdict::{Fault, Reason, Stop};

use super::stored::members_with_numbers;
use super::{Context, Rule, type_fault};

/// One member of a struct.
#[derive(Clone, Debug)]
struct Member {
    /// Its name as nearly every payload spells it.
    name: MemberName,
    required: bool,
    rule: Rule,
}

/// An object with these members and, unless the model says otherwise, no others.
///
/// Time does not depend on how many members the model has: names are looked up, and required members are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct StructRule {
    names: Names,
    /// In the model's order, in which missing ones are reported.
    members: Vec<Member>,
    required: usize,
    /// Members that the model lacks are only checked as JSON.
    additional: bool,
}

impl StructRule {
    pub(crate) fn new(additional: bool) -> Self {
        Self { additional, ..Self::default() }
    }

    /// Adds a member; false when there is one of that name.
    pub(crate) fn add(&mut self, identifier: &str, required: bool, rule: Rule) -> bool {
        let is_new = self.names.insert(identifier);
        if is_new {
            self.members.push(Member { name: MemberName::new(identifier), required, rule });
            self.required += usize::from(required);
        }
        is_new
    }

    /// What a member of that name must be.
    pub(crate) fn rule_of(&self, name: &str) -> Option<&Rule> {
        let index = self.names.find(name.as_bytes())?;
        self.members.get(index).map(|member| &member.rule)
    }

    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        if cursor.peek() != b'{' {
            return Err(type_fault(cursor, "STRUCT"));
        }
        let start = cursor.offset();
        cursor.open()?;
        context.members.begin(self.members.len());
        let (mut first, mut required, mut expected) = (true, 0, 0);
        while let Some((at, index)) = self.next_member(cursor, context, &mut first, expected)? {
            let Some(member) = self.members.get(index) else {
                cursor.skip_value()?;
                continue;
            };
            let identifier = || self.names.get(index).unwrap_or_default();
            if !context.members.mark(index) {
                return Err(repeated(at, identifier()));
            }
            member.rule.check(cursor, context, &mut ()).map_err(|stop| stop.inside(identifier()))?;
            required += usize::from(member.required);
            expected = index + 1;
        }
        if required != self.required {
            return Err(self.missing(cursor, context));
        }
        collect.json(|| {
            let token = cursor.bytes_from(start);
            if context.settings.numbers_as_strings { members_with_numbers(self, token) } else { token.into() }
        });
        Ok(())
    }

    /// Reads the next member's name: where it stands and which member it is, beyond the last where the model lacks it, or
    /// `None` at the end.
    #[inline(always)]
    fn next_member(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        first: &mut bool,
        expected: usize,
    ) -> Result<Option<(usize, usize)>, Stop> {
        // Most senders keep the model's order: its next member is compared before any is looked up.
        let member = self.members.get(expected);
        let end = cursor.offset();
        if !*first && member.is_some_and(|member| cursor.take_next(&member.name)) {
            return Ok(Some((end + 1, expected)));
        }
        if !cursor.next_member(first)? {
            return Ok(None);
        }
        let start = cursor.offset();
        if member.is_some_and(|member| cursor.take_name(&member.name)) {
            return Ok(Some((start, expected)));
        }
        let name = cursor.string()?;
        cursor.colon()?;
        match self.names.find(name.bytes_in(context.buffer)) {
            Some(index) => Ok(Some((start, index))),
            None if self.additional => Ok(Some((start, usize::MAX))),
            None => Err(unknown_member(start, &name.decode(), self.names.iter())),
        }
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

//! The stored form of ARRAY and STRUCT if the product accepts numbers in strings (contract 5.4):
//! the JSON of the payload, with numbers in place of such strings.
//!
//! ```text
//! ["1.50", 2]                          ARRAY of DOUBLE   [1.50, 2]
//! {"count":"7","label":"7"}            INT and STRING    {"count":7,"label":"7"}
//! ```

use std::borrow::Cow;

use crate::json::{Cursor, Number, Syntax};

use super::{ArrayRule, Rule, StructRule};

/// The text of an array that its rule has accepted.
pub(crate) fn elements_with_numbers<'a>(rule: &ArrayRule, token: &'a [u8]) -> Cow<'a, [u8]> {
    rewritten(token, |rewriter| rewriter.array(rule))
}

/// The text of a struct that its rule has accepted.
pub(crate) fn members_with_numbers<'a>(rule: &StructRule, token: &'a [u8]) -> Cow<'a, [u8]> {
    rewritten(token, |rewriter| rewriter.members(rule))
}

fn rewritten<'a>(
    token: &'a [u8],
    rewrite: impl FnOnce(&mut Rewriter<'a>) -> Result<(), Syntax>,
) -> Cow<'a, [u8]> {
    if !token.contains(&b'"') {
        return token.into();
    }
    let mut rewriter = Rewriter { cursor: Cursor::new(token), token, written: Vec::new(), copied: 0 };
    if let Err(syntax) = rewrite(&mut rewriter) {
        unreachable!("the token was read before: {syntax}");
    }
    if rewriter.copied == 0 {
        return token.into();
    }
    rewriter.written.extend_from_slice(&token[rewriter.copied..]);
    rewriter.written.into()
}

/// Copies a token, except for the strings that it replaces.
struct Rewriter<'a> {
    cursor: Cursor<'a>,
    token: &'a [u8],
    written: Vec<u8>,
    /// The part of the token up to here has been copied or replaced.
    copied: usize,
}

impl Rewriter<'_> {
    /// The recursion is bounded by the model: a struct, an array in it, its elements.
    fn value(&mut self, rule: &Rule) -> Result<(), Syntax> {
        match rule {
            Rule::Array(rule) => self.array(rule),
            Rule::Struct(rule) => self.members(rule),
            _ if self.cursor.peek() == b'"' && rule.accepts_numbers() => self.number(rule),
            _ => self.cursor.skip_value(),
        }
    }

    fn array(&mut self, rule: &ArrayRule) -> Result<(), Syntax> {
        self.cursor.open()?;
        let mut first = true;
        while self.cursor.next_element(&mut first)? {
            self.value(&rule.element)?;
        }
        Ok(())
    }

    fn members(&mut self, rule: &StructRule) -> Result<(), Syntax> {
        self.cursor.open()?;
        let mut first = true;
        while self.cursor.next_member(&mut first)? {
            let name = self.cursor.string()?.decode();
            self.cursor.colon()?;
            match rule.rule_of(&name) {
                Some(rule) => self.value(rule)?,
                None => self.cursor.skip_value()?,
            }
        }
        Ok(())
    }

    fn number(&mut self, rule: &Rule) -> Result<(), Syntax> {
        let start = self.cursor.offset();
        let text = self.cursor.string()?.decode();
        let is_truth = matches!(rule, Rule::Bool(_)) && (text == "true" || text == "false");
        // A TIMESTAMP with leading zeros is no JSON number and stays a string.
        if is_truth || Number::parse(&text).is_some() {
            self.written.extend_from_slice(&self.token[self.copied..start]);
            self.written.extend_from_slice(text.as_bytes());
            self.copied = self.cursor.offset();
        }
        Ok(())
    }
}

//! A whole document as a tree: for model and device files, which are read once, never for payloads.
//!
//! Recursion is bounded by the reader's own depth limit.

use std::borrow::Cow;

use super::{Cursor, Kind, Number, Syntax};

/// A JSON value. Members keep their order and their repeats.
#[derive(Clone, Debug)]
pub(crate) enum Tree<'a> {
    Null,
    Boolean(bool),
    Number(Number<'a>),
    Text(Cow<'a, str>),
    Array(Vec<Tree<'a>>),
    Object(Vec<(Cow<'a, str>, Tree<'a>)>),
}

impl<'a> Tree<'a> {
    pub(crate) fn parse(document: &'a [u8]) -> Result<Self, Syntax> {
        let mut cursor = Cursor::new(document);
        cursor.begin()?;
        let tree = Self::read(&mut cursor)?;
        cursor.finish()?;
        Ok(tree)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Boolean(_) => Kind::Boolean,
            Self::Number(_) => Kind::Number,
            Self::Text(_) => Kind::String,
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
        }
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Syntax> {
        let mut first = true;
        Ok(match cursor.kind()? {
            Kind::Null => {
                cursor.literal("null")?;
                Self::Null
            }
            Kind::Boolean => Self::Boolean(cursor.boolean()?),
            Kind::Number => Self::Number(cursor.number()?),
            Kind::String => Self::Text(cursor.string()?.decode()),
            Kind::Array => {
                cursor.open()?;
                let mut elements = Vec::new();
                while cursor.next_element(&mut first)? {
                    elements.push(Self::read(cursor)?);
                }
                Self::Array(elements)
            }
            Kind::Object => {
                cursor.open()?;
                let mut members = Vec::new();
                while cursor.next_member(&mut first)? {
                    let name = cursor.string()?.decode();
                    cursor.colon()?;
                    members.push((name, Self::read(cursor)?));
                }
                Self::Object(members)
            }
        })
    }
}

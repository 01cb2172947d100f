//! A whole document as a tree: for model and device files, never for payloads.
//!
//! The recursion is bounded by the cursor's depth limit.

use std::borrow::Cow;

use super::{Cursor, JsonType, Number, Syntax};

/// A JSON value. Members keep their order, and repeated members are kept.
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

    pub(crate) fn json_type(&self) -> JsonType {
        match self {
            Self::Null => JsonType::Null,
            Self::Boolean(_) => JsonType::Boolean,
            Self::Number(_) => JsonType::Number,
            Self::Text(_) => JsonType::String,
            Self::Array(_) => JsonType::Array,
            Self::Object(_) => JsonType::Object,
        }
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Syntax> {
        let mut first = true;
        Ok(match cursor.json_type()? {
            JsonType::Null => {
                cursor.literal("null")?;
                Self::Null
            }
            JsonType::Boolean => Self::Boolean(cursor.boolean()?),
            JsonType::Number => Self::Number(cursor.number()?),
            JsonType::String => Self::Text(cursor.string()?.decode()),
            JsonType::Array => {
                cursor.open()?;
                let mut elements = Vec::new();
                while cursor.next_element(&mut first)? {
                    elements.push(Self::read(cursor)?);
                }
                Self::Array(elements)
            }
            JsonType::Object => {
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

//! The member of an entry that most likely was meant to be the one that the entry lacks (contract 2.4).
//!
//! An entry does not keep what it ignores, so a refused request is read once more, up to that entry.

use crate::display::quoted;
use crate::json::{Cursor, Kind, Syntax};
use crate::model::nearest;
use crate::verdict::{Fault, Reason};

/// Adds the member to what the message says came, where an entry was refused for a missing one.
#[cold]
pub(crate) fn with_misnamed(fault: Box<Fault>, payload: &[u8]) -> Box<Fault> {
    let missing = match (fault.reason, fault.got.as_deref()) {
        (Reason::Device, Some("no deviceKey")) => "deviceKey",
        (Reason::Format, Some("no such member")) => "measurepoints",
        _ => return fault,
    };
    // A device may be called that, too; it is in quotes then.
    let Some(index) = fault.index.filter(|_| fault.said.is_none()) else { return fault };
    match misnamed(&mut Cursor::new(payload), index, missing) {
        Ok(Some(name)) => fault.said(Some(format!("no {missing}, but {}", quoted(&name)))),
        _ => fault,
    }
}

/// Reads from the beginning of a request to the name in this entry.
fn misnamed(cursor: &mut Cursor<'_>, index: usize, missing: &str) -> Result<Option<String>, Syntax> {
    cursor.begin()?;
    cursor.open()?;
    let mut first = true;
    while let Some((_, member)) = cursor.next_of(&mut first, &["\"params\":"])? {
        if member.is_some() {
            break;
        }
        cursor.skip_value()?;
    }
    if cursor.kind()? == Kind::Array {
        cursor.open()?;
        let (mut first, mut passed) = (true, 0);
        while cursor.next_element(&mut first)? && passed < index {
            cursor.skip_value()?;
            passed += 1;
        }
    }
    cursor.open()?;
    let mut first = true;
    while cursor.next_member(&mut first)? {
        let name = cursor.string()?.decode();
        // What EnOS calls a device elsewhere is no slip of the pen.
        let is_other_name = missing == "deviceKey" && name == "assetId";
        if is_other_name || nearest(&name, [missing].into_iter()).is_some() {
            return Ok(Some(name.into_owned()));
        }
        cursor.colon()?;
        cursor.skip_value()?;
    }
    Ok(None)
}

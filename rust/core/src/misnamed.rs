//! Finds the member that was probably meant to be the one that a refused entry lacks (contract
//! 2.4).
//!
//! Unknown members are not recorded while an entry is judged, so a refused request is read again,
//! up to that entry.

use crate::display::quoted;
use crate::fault::{Fault, Reason};
use crate::json::{Cursor, JsonType, Syntax};
use crate::model::nearest;

/// Adds the misnamed member to the fault's message, if the fault is a missing member of an entry.
#[cold]
pub(crate) fn with_misnamed(fault: Box<Fault>, payload: &[u8], points: &'static str) -> Box<Fault> {
    let missing = match (fault.reason, fault.got.as_deref()) {
        (Reason::Device, Some("no deviceKey")) => "deviceKey",
        (Reason::Format, Some("no such member")) => points,
        _ => return fault,
    };
    // The text can also be a device key, which is shown in quotes.
    let Some(index) = fault.index.filter(|_| fault.got_in_message.is_none()) else { return fault };
    match misnamed(&mut Cursor::new(payload), index, missing) {
        Ok(Some(name)) => fault.got_in_message(Some(format!("no {missing}, but {}", quoted(&name)))),
        _ => fault,
    }
}

/// Reads the request up to the misnamed member of this entry.
fn misnamed(cursor: &mut Cursor<'_>, index: usize, missing: &str) -> Result<Option<String>, Syntax> {
    cursor.begin()?;
    cursor.open()?;
    let mut first = true;
    while let Some((_, member)) = cursor.next_known_member(&mut first, &["\"params\":"])? {
        if member.is_some() {
            break;
        }
        cursor.skip_value()?;
    }
    if cursor.json_type()? == JsonType::Array {
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
        // Other interfaces of EnOS call the device `assetId`.
        let is_other_name = missing == "deviceKey" && name == "assetId";
        if is_other_name || nearest(&name, [missing].into_iter()).is_some() {
            return Ok(Some(name.into_owned()));
        }
        cursor.colon()?;
        cursor.skip_value()?;
    }
    Ok(None)
}

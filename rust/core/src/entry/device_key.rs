//! `deviceKey`: a device of the product's device table (contract 3.4).

use crate::catalog::Product;
use crate::fault::at_value::{mismatch, refused};
use crate::fault::{Fault, Reason, Stop};
use crate::reader::Reader;

use super::entries::{DeviceKey, Entry};

impl<'r> Entry<'r> {
    pub(super) fn read_device_key(&mut self, reader: &mut Reader<'r>, product: &Product) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        match reader.cursor.peek() {
            b'n' => {
                reader.cursor.literal("null")?;
                check_default(start, product, "null")
            }
            b'"' => {
                let text = reader.cursor.string()?;
                self.device_key = DeviceKey::Given(text);
                if product.devices.has(text) {
                    return Ok(());
                }
                let device_key = text.decode();
                if device_key.contains('\0') {
                    reader.cursor.rewind_to(start);
                    return Err(refused(&reader.cursor, Reason::Format, "a string without U+0000"));
                }
                Err(unknown_device(start).got_text(&device_key).into())
            }
            _ => {
                self.device_key = DeviceKey::Unusable;
                Err(mismatch(&reader.cursor, Reason::Format, "string"))
            }
        }
    }
}

/// Checks the device of an entry that names none (contract 3.4).
pub(super) fn check_default(offset: usize, product: &Product, got: &'static str) -> Result<(), Stop> {
    match &product.settings.default_device {
        Some(device_key) if product.devices.contains(device_key) => Ok(()),
        Some(device_key) => Err(unknown_device(offset).got_text(device_key).into()),
        None => Err(unknown_device(offset).got(got).into()),
    }
}

#[cold]
fn unknown_device(offset: usize) -> Box<Fault> {
    Fault::here(Reason::Device, offset).expected("a device of the product")
}

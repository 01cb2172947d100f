//! `deviceKey`: a device of the product's device table (contract 3.4).

use crate::catalog::Product;
use crate::collect::Collect;
use crate::fault::at_value::{mismatch, refused};
use crate::fault::{Fault, Reason, Stop};
use crate::kind::{Kind, Member};
use crate::reader::Reader;

use super::Entries;
use super::entries::{DeviceKey, Entry, Place, with_place};
use super::pending::PendingDevice;

impl<'r, K: Kind, C: Collect> Entries<'r, K, C> {
    /// Reads the device of `entry`, and looks it up: at once, or in a large table while the next
    /// entries are read.
    #[inline]
    pub(super) fn device_key(
        &mut self,
        reader: &mut Reader<'r>,
        product: &Product,
        entry: &mut Entry<'r>,
    ) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        match reader.cursor.peek() {
            b'n' => {
                reader.cursor.literal("null")?;
                check_default(start, product, "null")
            }
            b'"' => {
                let text = reader.cursor.string()?;
                entry.device_key = DeviceKey::Given(text);
                if let Some(key) = text.plain().filter(|_| !C::ALL && !C::SKIPS && product.devices.is_large())
                {
                    self.look_up_later(reader.cursor.bytes(), product, (entry.place, start), key);
                    return Ok(());
                }
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
                entry.device_key = DeviceKey::Unusable;
                Err(mismatch(&reader.cursor, Reason::Format, "string"))
            }
        }
    }
}

impl<K: Kind, C: Collect> Entries<'_, K, C> {
    #[inline(never)]
    fn look_up_later(
        &mut self,
        payload: &[u8],
        product: &Product,
        (place, start): (Place, usize),
        key: &[u8],
    ) {
        if let Some(unknown) = self.pending.begin(&product.devices, payload, (place.index, start), key) {
            self.fault = Some(Self::pending_fault(unknown, payload, place.in_array));
        }
    }

    /// The fault of the first entry before `end` whose device turns out to be unknown.
    #[inline]
    pub(super) fn fault_of_pending(&mut self, payload: &[u8], end: Place) -> Option<Box<Fault>> {
        let devices = &self.product?.devices;
        let unknown = self.pending.first_unknown(devices, payload, end.index)?;
        Some(Self::pending_fault(unknown, payload, end.in_array))
    }

    #[cold]
    fn pending_fault(unknown: PendingDevice, payload: &[u8], in_array: bool) -> Box<Fault> {
        let Ok(key) = std::str::from_utf8(unknown.key(payload)) else {
            unreachable!("a string of JSON is UTF-8")
        };
        let fault = unknown_device(unknown.start).got_text(key).inside(K::TABLE.name_of(Member::DeviceKey));
        with_place(fault, Some(key.to_owned()), Place { index: unknown.index, in_array })
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

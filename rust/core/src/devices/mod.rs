//! The device table: which device keys a product has, exactly (contract 6.4).

mod collector;
mod columns;
mod file;
mod key;
mod text;

use crate::Problem;
use crate::json::Text;
use crate::names::Names;

pub use file::DeviceFormat;

/// The longest device key, in bytes.
const MAX_DEVICE_KEY: usize = 128;

/// An exact set of device keys.
#[derive(Clone, Debug, Default)]
pub struct DeviceTable {
    keys: Names,
}

/// A device file that could be read.
#[derive(Clone, Debug, Default)]
pub struct DeviceFile {
    /// Its keys.
    pub table: DeviceTable,
    /// What is legal and most likely not meant, up to fifty lines of it.
    pub warnings: Vec<Problem>,
}

impl DeviceFile {
    /// Reads a device file as [`DeviceTable::parse`] does, and says what is suspicious about it.
    ///
    /// # Errors
    /// The same.
    pub fn parse(data: &[u8], format: DeviceFormat) -> Result<Self, Vec<Problem>> {
        file::read(data, format)
    }
}

impl DeviceTable {
    /// Reads a device file: repeated keys are one, blank lines and carriage returns are passed over.
    ///
    /// # Errors
    /// Every line that cannot be understood, up to a hundred, with its number.
    pub fn parse(data: &[u8], format: DeviceFormat) -> Result<Self, Vec<Problem>> {
        DeviceFile::parse(data, format).map(|file| file.table)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `device_key` is one of them; bytes compare.
    #[inline]
    pub fn contains(&self, device_key: &str) -> bool {
        self.keys.find(device_key.as_bytes()).is_some()
    }

    /// The number of a key, as a payload spells it.
    #[inline]
    pub(crate) fn find(&self, device_key: Text<'_>) -> Option<usize> {
        match device_key.plain() {
            Some(bytes) => self.keys.find(bytes),
            None => self.keys.find(device_key.decode().as_bytes()),
        }
    }

    /// Adds a key; false when it is there already.
    fn insert(&mut self, device_key: &str) -> Result<bool, String> {
        if device_key.is_empty() || device_key.len() > MAX_DEVICE_KEY {
            let length = device_key.len();
            return Err(format!("expected a deviceKey of 1 to {MAX_DEVICE_KEY} bytes, got {length} bytes"));
        }
        if device_key.chars().any(char::is_control) {
            let shown = crate::display::quoted(device_key);
            let hint = if device_key.contains('\t') { ": name a file with columns .csv" } else { "" };
            return Err(format!("expected a deviceKey without control characters, got {shown}{hint}"));
        }
        Ok(self.keys.insert(device_key))
    }
}

impl<K: AsRef<str>> FromIterator<K> for DeviceTable {
    /// Collects keys; ones that no device can have are left out.
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut table = Self::default();
        for key in keys {
            let _ = table.insert(key.as_ref());
        }
        table
    }
}

//! The device table: the device keys of a product (contract 6.4).
//!
//! | file | content |
//! | --- | --- |
//! | `file` | the three formats of a device file |
//! | `text` | encodings, and files that are something else |
//! | `columns` | CSV |
//! | `key_set` | the table in memory |
//! | `key` | cleaning a key, and what is suspicious about one |
//! | `changes` | a table that changes: base and overlay |
//! | `collector` | the table, warnings and mistakes of a file |

mod changes;
mod collector;
mod columns;
mod file;
mod key;
mod key_set;
mod text;

use crate::Problem;
use crate::json::Text;

pub use changes::{Change, Devices};
pub use file::DeviceFormat;
pub(crate) use key_set::Lookup;
use key_set::{Batch, KeySet};

/// Maximum length of a device key in bytes.
const MAX_DEVICE_KEY: usize = 128;

/// An exact set of device keys.
#[derive(Clone, Debug, Default)]
pub struct DeviceTable {
    keys: KeySet,
}

/// The content of a device file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeviceFile {
    /// Its keys.
    pub table: DeviceTable,
    /// What is legal and probably a mistake; at most fifty warnings.
    pub warnings: Vec<Problem>,
}

impl DeviceFile {
    /// Reads a device file as [`DeviceTable::parse`] does, and returns warnings with the table.
    ///
    /// # Errors
    /// Those of [`DeviceTable::parse`].
    pub fn parse(data: &[u8], format: DeviceFormat) -> Result<Self, Vec<Problem>> {
        file::read(data, format)
    }
}

impl DeviceTable {
    /// Reads a device file: repeated keys count once, blank lines and carriage returns are ignored.
    ///
    /// # Errors
    /// Every line with a mistake, up to a hundred, with its number.
    pub fn parse(data: &[u8], format: DeviceFormat) -> Result<Self, Vec<Problem>> {
        DeviceFile::parse(data, format).map(|file| file.table)
    }

    /// A table of these keys, exactly as they are; repeated keys count once.
    ///
    /// # Errors
    /// The first key that no device can have (contract 6.4), with its index.
    pub fn from_keys<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Self, Problem> {
        let mut table = Self::default();
        for (index, key) in keys.into_iter().enumerate() {
            table.insert(key.as_ref()).map_err(|reason| Problem::new(format!("key {index}"), reason))?;
        }
        table.keys.shrink();
        Ok(table)
    }

    /// A table of lines that are keys, exactly as they are; repeated keys count once.
    ///
    /// # Errors
    /// The first key that no device can have (contract 6.4), with its index; bytes that are not
    /// UTF-8, with their offset.
    pub fn from_lines(data: &[u8]) -> Result<Self, Problem> {
        let keys = lines(data)?;
        let count = data.split(|&byte| byte == b'\n').count();
        let (mut table, mut batch) = (Self::default(), Batch::default());
        table.keys.reserve(count, data.len());
        for (index, key) in keys.enumerate() {
            check_key(key).map_err(|reason| Problem::new(format!("key {index}"), reason))?;
            table.keys.insert_later(&mut batch, key);
        }
        table.keys.insert_all(&mut batch);
        table.keys.shrink();
        Ok(table)
    }

    /// The keys, in the order in which they came first.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(_, key)| key)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `device_key` is one of the keys, byte for byte.
    #[inline]
    pub fn contains(&self, device_key: &str) -> bool {
        self.keys.find(device_key.as_bytes()).is_some()
    }

    /// The number of a key in a payload.
    #[inline]
    pub(crate) fn find(&self, device_key: Text<'_>) -> Option<usize> {
        match device_key.plain() {
            Some(bytes) => self.keys.find(bytes),
            None => self.keys.find(device_key.decode().as_bytes()),
        }
    }

    /// Adds a key; false if it is there already.
    fn insert(&mut self, device_key: &str) -> Result<bool, String> {
        check_key(device_key)?;
        Ok(self.keys.insert(device_key))
    }
}

/// The lines of a text; the last one may end with it.
fn lines(data: &[u8]) -> Result<impl Iterator<Item = &str>, Problem> {
    let text = std::str::from_utf8(data).map_err(|error| {
        Problem::new(format!("byte {}", error.valid_up_to()), "expected UTF-8, got other bytes")
    })?;
    Ok(text.split_terminator('\n'))
}

/// Why no device can have this key (contract 6.4).
fn check_key(device_key: &str) -> Result<(), String> {
    if device_key.is_empty() || device_key.len() > MAX_DEVICE_KEY {
        let length = device_key.len();
        return Err(format!("expected a deviceKey of 1 to {MAX_DEVICE_KEY} bytes, got {length} bytes"));
    }
    if device_key.chars().any(char::is_control) {
        let shown = crate::display::quoted(device_key);
        let hint = if device_key.contains('\t') { ": name a file with columns .csv" } else { "" };
        return Err(format!("expected a deviceKey without control characters, got {shown}{hint}"));
    }
    Ok(())
}

impl<K: AsRef<str>> FromIterator<K> for DeviceTable {
    /// Collects keys; drops those that no device can have. [`DeviceTable::from_keys`] reports them.
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut table = Self::default();
        for key in keys {
            let _ = table.insert(key.as_ref());
        }
        table
    }
}

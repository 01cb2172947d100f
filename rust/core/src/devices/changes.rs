//! A device table that changes: an immutable base, shared by all versions, and an overlay.
//!
//! ```text
//! base      a, b, c              numbers 0, 2, 4
//! overlay   added d (number 6), removed {2}
//! devices   a, c, d
//! ```
//!
//! A change copies the overlay and not the base, so one device more among ten million takes
//! microseconds and no memory. A look-up asks the base first, so that a table without an overlay,
//! and a key that has not changed, cost one comparison more than the base alone. When the overlay
//! has grown, [`Devices::folded`] makes a new base of both, and [`Devices::rebased`] carries over
//! what has changed meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::Problem;
use crate::display::quoted;
use crate::interner::Interner;
use crate::json::Text;

use super::collector::MAX_PROBLEMS;
use super::file::utf8;
use super::key::{cleaned, trimmed};
use super::key_set::{Batch, KeySet, Lookup};
use super::{DeviceTable, check_key, lines};

/// The device keys of a product: a table, and what has changed since.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    base: Arc<DeviceTable>,
    overlay: Option<Arc<Overlay>>,
}

/// What differs from the base.
#[derive(Clone, Debug, Default)]
struct Overlay {
    /// Keys that the base lacks; their numbers follow those of the base ([`KeySet::end`]).
    added: Interner,
    /// Numbers of keys, of either, that are no devices any more.
    removed: HashSet<usize, RandomState>,
}

/// A change of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else to do with a key")]
pub enum Change {
    /// The key is a device from now on.
    Add,
    /// The key is no device any more.
    Remove,
}

impl From<Arc<DeviceTable>> for Devices {
    fn from(base: Arc<DeviceTable>) -> Self {
        Self { base, overlay: None }
    }
}

impl From<DeviceTable> for Devices {
    fn from(base: DeviceTable) -> Self {
        Arc::new(base).into()
    }
}

impl Devices {
    /// Number of keys.
    pub fn len(&self) -> usize {
        let overlay = self.overlay.as_deref();
        self.base.len() + overlay.map_or(0, |one| one.added.len())
            - overlay.map_or(0, |one| one.removed.len())
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys in the overlay, added or removed.
    pub fn changed(&self) -> usize {
        self.overlay.as_deref().map_or(0, |overlay| overlay.added.len() + overlay.removed.len())
    }

    /// The keys: those of the base, and then those that were added.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let overlay = self.overlay.as_deref();
        let added = overlay.into_iter().flat_map(|overlay| overlay.added.iter());
        let all = self.base.keys.iter().chain((self.base.keys.end()..).zip(added));
        all.filter(move |(number, _)| overlay.is_none_or(|one| !one.removed.contains(number)))
            .map(|(_, key)| key)
    }

    /// Whether `device_key` is one of the keys, byte for byte.
    #[inline]
    pub fn contains(&self, device_key: &str) -> bool {
        let found = self.base.keys.find(device_key.as_bytes());
        match &self.overlay {
            None => found.is_some(),
            Some(overlay) => self.is_in(overlay, found, device_key.as_bytes()),
        }
    }

    /// Whether a key in a payload is one of the keys.
    #[inline]
    pub(crate) fn has(&self, device_key: Text<'_>) -> bool {
        let found = self.base.find(device_key);
        match &self.overlay {
            None => found.is_some(),
            Some(overlay) => self.is_in_changed(overlay, found, device_key),
        }
    }

    /// Whether look-ups wait for memory, so that [`Self::begin`] is worth its while.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.base.keys.is_large()
    }

    /// Begins to look for a key; [`Self::locate`] and [`Self::finish`] follow, each some time later.
    #[inline]
    pub(crate) fn begin(&self, device_key: &[u8]) -> Lookup {
        self.base.keys.begin(device_key)
    }

    #[inline]
    pub(crate) fn locate(&self, lookup: &mut Lookup) {
        self.base.keys.locate(lookup);
    }

    /// Whether the key is one of the keys.
    #[inline]
    pub(crate) fn finish(&self, lookup: Lookup, device_key: &[u8]) -> bool {
        let found = self.base.keys.finish(lookup, device_key);
        match &self.overlay {
            None => found.is_some(),
            Some(overlay) => self.is_in(overlay, found, device_key),
        }
    }

    #[inline(never)]
    fn is_in_changed(&self, overlay: &Overlay, in_base: Option<usize>, device_key: Text<'_>) -> bool {
        match device_key.plain() {
            Some(bytes) => self.is_in(overlay, in_base, bytes),
            None => self.is_in(overlay, in_base, device_key.decode().as_bytes()),
        }
    }

    fn is_in(&self, overlay: &Overlay, in_base: Option<usize>, device_key: &[u8]) -> bool {
        let number = in_base.or_else(|| self.number_of_added(overlay, device_key));
        number.is_some_and(|number| overlay.removed.is_empty() || !overlay.removed.contains(&number))
    }

    fn number_of_added(&self, overlay: &Overlay, device_key: &[u8]) -> Option<usize> {
        overlay.added.find(device_key).map(|added| self.base.keys.end() + added)
    }

    /// A table after these changes, in order. Keys that are there already, or that are not there,
    /// change nothing, so that changes can be applied again.
    ///
    /// # Errors
    /// The first key that no device can have (contract 6.4), with its index.
    pub fn with_changes<K: AsRef<str>>(
        &self,
        changes: impl IntoIterator<Item = (Change, K)>,
    ) -> Result<Self, Problem> {
        let mut overlay = self.copied();
        for (index, (change, key)) in changes.into_iter().enumerate() {
            let applied = self.apply(&mut overlay, change, key.as_ref());
            applied.map_err(|reason| Problem::new(format!("key {index}"), reason))?;
        }
        Ok(self.with(overlay))
    }

    /// A table after lines that are `+KEY` or `-KEY`, in order. Keys are taken exactly as they are,
    /// and no line is a comment.
    ///
    /// # Errors
    /// The first line without a sign or with a key that no device can have (contract 6.4), with its
    /// index; bytes that are not UTF-8, with their offset.
    pub fn with_exact_lines(&self, data: &[u8]) -> Result<Self, Problem> {
        self.with_changes(lines(data)?.map(|line| match line.strip_prefix('-') {
            Some(key) => (Change::Remove, key),
            // Without a sign the key becomes empty, which is refused.
            None => (Change::Add, line.strip_prefix('+').unwrap_or_default()),
        }))
    }

    /// A table after the changes of a text: `+KEY` and `-KEY`, one a line, in order. Blank lines and
    /// lines that begin with `#` are ignored; keys are cleaned as those of a device file.
    ///
    /// # Errors
    /// Every line with a mistake, up to a hundred, with its number; the first line is number
    /// `first_line`.
    pub fn with_lines(&self, data: &[u8], first_line: u64) -> Result<Self, Vec<Problem>> {
        let mut overlay = self.copied();
        let mut problems = Vec::new();
        for (number, line) in (first_line..).zip(data.split(|&byte| byte == b'\n')) {
            let applied = utf8(line).and_then(|line| match change(line)? {
                Some((change, key)) => self.apply(&mut overlay, change, &key),
                None => Ok(()),
            });
            if let Err(reason) = applied {
                problems.push(Problem::new(format!("line {number}"), reason));
                if problems.len() >= MAX_PROBLEMS {
                    break;
                }
            }
        }
        if problems.is_empty() { Ok(self.with(overlay)) } else { Err(problems) }
    }

    fn copied(&self) -> Overlay {
        self.overlay.as_deref().cloned().unwrap_or_default()
    }

    fn with(&self, overlay: Overlay) -> Self {
        let is_empty = overlay.added.len() == 0 && overlay.removed.is_empty();
        Self { base: self.base.clone(), overlay: (!is_empty).then(|| Arc::new(overlay)) }
    }

    fn apply(&self, overlay: &mut Overlay, change: Change, key: &str) -> Result<(), String> {
        check_key(key)?;
        let in_base = self.base.keys.find(key.as_bytes());
        let number = in_base.or_else(|| self.number_of_added(overlay, key.as_bytes()));
        match (change, number) {
            (Change::Add, Some(number)) => _ = overlay.removed.remove(&number),
            (Change::Add, None) => _ = overlay.added.insert(key),
            (Change::Remove, Some(number)) => _ = overlay.removed.insert(number),
            (Change::Remove, None) => {}
        }
        Ok(())
    }

    /// The same keys as a base without an overlay. It takes about 0.1 µs a key.
    #[must_use]
    pub fn folded(&self) -> Self {
        let (mut keys, mut batch) = (KeySet::default(), Batch::default());
        keys.reserve(self.len(), self.base.keys.end());
        for key in self.keys() {
            keys.insert_later(&mut batch, key);
        }
        keys.insert_all(&mut batch);
        keys.shrink();
        DeviceTable { keys }.into()
    }

    /// These keys, with `folded` as their base; `None` unless that was made of an earlier version of
    /// this table, `original`.
    pub fn rebased(&self, folded: &Self, original: &Self) -> Option<Self> {
        if !Arc::ptr_eq(&self.base, &original.base) {
            return None;
        }
        let mut overlay = folded.copied();
        // Whatever differs from the base differs in one of both versions.
        for touched in [self, original].into_iter().filter_map(|one| one.overlay.as_deref()) {
            let removed = touched.removed.iter().filter_map(|&number| self.base.keys.key(number));
            for key in touched.added.iter().chain(removed) {
                let change = if self.contains(key) { Change::Add } else { Change::Remove };
                folded.apply(&mut overlay, change, key).ok()?;
            }
        }
        Some(folded.with(overlay))
    }
}

/// The change of a line; `None` if it has none.
fn change(line: &str) -> Result<Option<(Change, std::borrow::Cow<'_, str>)>, String> {
    let bare = trimmed(line);
    if bare.is_empty() || bare.starts_with('#') {
        return Ok(None);
    }
    let mut characters = bare.chars();
    let change = match characters.next() {
        Some('+') => Change::Add,
        Some('-') => Change::Remove,
        _ => return Err(format!("expected + or - and a deviceKey, got {}", quoted(bare))),
    };
    Ok(Some((change, cleaned(characters.as_str(), true))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn devices(keys: &[&str]) -> Devices {
        keys.iter().collect::<DeviceTable>().into()
    }

    fn keys(devices: &Devices) -> Vec<&str> {
        devices.keys().collect()
    }

    #[test]
    fn lines_are_applied_in_order() {
        let before = devices(&["a", "b", "c"]);
        let after =
            before.with_lines(b"+d\r\n-b\n\n# plant 2\n+ e \n-d\n+b\n-c\n-x\n", 1).unwrap_or_default();
        assert_eq!(keys(&after), ["a", "b", "e"]);
        assert_eq!((after.len(), after.changed()), (3, 4));
        assert_eq!(keys(&before), ["a", "b", "c"]);
        assert!(after.contains("e") && !after.contains("d") && !after.contains("c"));
    }

    #[test]
    fn exact_lines_are_keys_byte_for_byte() {
        let odd = b"# a\n \"b\" \ndeviceKey\n1e5\n1e5\n";
        let before: Devices = DeviceTable::from_lines(odd).unwrap_or_default().into();
        assert_eq!(keys(&before), ["# a", " \"b\" ", "deviceKey", "1e5"]);
        let after = before.with_exact_lines(b"-# a\n+ c\n+-d\n").unwrap_or_default();
        assert_eq!(keys(&after), [" \"b\" ", "deviceKey", "1e5", " c", "-d"]);
        let refused = |data| before.with_exact_lines(data).err().map(|problem| problem.location);
        assert_eq!(refused(b"+a\nb\n"), Some("key 1".to_owned()));
        assert_eq!(refused(b"+a\n+\xff\n"), Some("byte 4".to_owned()));
        assert!(DeviceTable::from_lines(b"a\n\nb\n").is_err());
    }

    #[test]
    fn a_line_with_a_mistake_is_named_and_nothing_is_applied() {
        let problems = devices(&["a"]).with_lines(b"+b\nc\n+\n-d\te\n+\xff\n", 7).err().unwrap_or_default();
        let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "line 8: expected + or - and a deviceKey, got \"c\"",
                "line 9: expected a deviceKey of 1 to 128 bytes, got 0 bytes",
                "line 10: expected a deviceKey without control characters, got \"d\\te\": name a file with columns .csv",
                "line 11: expected UTF-8, got an invalid byte in column 2",
            ]
        );
    }

    #[test]
    fn changes_that_change_nothing_leave_no_overlay() {
        let after = devices(&["a"]).with_lines(b"+a\n-b\n-a\n+a\n", 1).unwrap_or_default();
        assert_eq!((after.changed(), keys(&after)), (0, vec!["a"]));
    }

    #[test]
    fn a_fold_of_another_table_is_refused() {
        let (one, other) = (devices(&["a"]), devices(&["a"]));
        assert!(one.rebased(&other.folded(), &other).is_none());
    }

    fn changes() -> impl Strategy<Value = Vec<(bool, u8)>> {
        prop::collection::vec((any::<bool>(), 0_u8..12), 0..40)
    }

    fn apply(devices: &Devices, set: &mut BTreeSet<String>, changes: &[(bool, u8)]) -> Devices {
        let changes = changes.iter().map(|&(add, key)| (add, format!("key{key}")));
        devices
            .with_changes(changes.map(|(add, key)| {
                if add {
                    set.insert(key.clone())
                } else {
                    set.remove(&key)
                };
                (if add { Change::Add } else { Change::Remove }, key)
            }))
            .unwrap_or_default()
    }

    fn same(devices: &Devices, set: &BTreeSet<String>) -> bool {
        let keys: BTreeSet<String> = devices.keys().map(str::to_owned).collect();
        let all = (0..12).map(|key| format!("key{key}"));
        keys == *set
            && devices.len() == set.len()
            && devices.keys().count() == set.len()
            && all.into_iter().all(|key| devices.contains(&key) == set.contains(&key))
    }

    proptest! {
        #[test]
        fn a_table_with_changes_is_a_set(
            base in prop::collection::vec(0_u8..12, 0..12), first in changes(), second in changes(), third in changes()
        ) {
            let base: Vec<String> = base.into_iter().map(|key| format!("key{key}")).collect();
            let mut set: BTreeSet<String> = base.iter().cloned().collect();
            let table: Devices = base.iter().collect::<DeviceTable>().into();
            prop_assert!(same(&table, &set));
            let original = apply(&table, &mut set, &first);
            prop_assert!(same(&original, &set));
            let folded = original.folded();
            prop_assert!(same(&folded, &set));
            prop_assert_eq!(folded.changed(), 0);
            // What comes while the base is made anew is carried over, and more can follow.
            let later = apply(&original, &mut set, &second);
            let rebased = later.rebased(&folded, &original);
            prop_assert!(rebased.is_some());
            let rebased = rebased.unwrap_or_default();
            prop_assert!(same(&rebased, &set));
            prop_assert!(same(&apply(&rebased, &mut set, &third), &set));
        }
    }
}

//! The points of one kind that a model has.

use crate::interner::Interner;
use crate::json::{Cursor, MemberName};
use crate::rule::Rule;

use super::name_index::NameIndex;
use super::suggest;

/// Points, numbered in the order of the document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    identifiers: Interner,
    points: Vec<Point>,
    /// For names in an order that was not predicted.
    index: NameIndex,
    /// Of each identifier, for [`suggest`].
    signatures: Vec<u64>,
    /// Whether the model lets a post have points that the section lacks.
    pub(crate) allows_additional: bool,
}

/// One point of a model.
#[repr(align(128))]
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// The identifier, spelled as in nearly every payload.
    pub(crate) name: MemberName,
    /// Whether its values may have a quality (contract 5.2).
    pub(crate) quality: bool,
    pub(crate) rule: Rule,
}

impl Section {
    pub(super) fn new(allows_additional: bool) -> Self {
        Self { allows_additional, ..Self::default() }
    }

    /// Adds a point, whose identifier is new.
    pub(super) fn add(&mut self, identifier: &str, point: Point) {
        let is_new = self.identifiers.insert(identifier);
        debug_assert!(is_new, "a document's members do not repeat");
        self.signatures.push(suggest::signature(identifier));
        self.points.push(point);
    }

    /// Call it once, behind the last [`Self::add`].
    pub(super) fn finish(&mut self) {
        self.index = NameIndex::new(&self.points.iter().map(|point| &point.name));
    }

    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    pub(crate) fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.identifiers.iter()
    }

    #[inline]
    pub(crate) fn point(&self, index: usize) -> Option<&Point> {
        self.points.get(index)
    }

    /// Skips the name that comes next, and returns the number of its point. If that is not found by
    /// the name's first bytes, `None`, and the cursor has not moved.
    #[inline(always)]
    pub(crate) fn take_name(&self, cursor: &mut Cursor<'_>, first: bool) -> Option<usize> {
        let (next, number) = self.index.candidate(cursor, first)?;
        let point = self.points.get(number)?;
        cursor.take_found(&next, &point.name).then_some(number)
    }

    /// The number of the point with this identifier.
    #[inline]
    pub(crate) fn find(&self, identifier: &[u8]) -> Option<usize> {
        self.identifiers.find(identifier)
    }

    /// The identifier of a point of this section.
    pub(crate) fn identifier(&self, index: usize) -> &str {
        self.identifiers.name(index)
    }

    /// The identifier that was probably meant by `identifier`, which the section lacks.
    pub(crate) fn suggest(&self, identifier: &str) -> Option<&str> {
        suggest::nearest(identifier, self.identifiers().zip(self.signatures.iter().copied()))
    }
}

//! Thing models: documents as `EnOS` writes them, compiled into rules (contract 6.1, 6.2).
//!
//! `node` gives typed access to a document and turns every surprise into a problem with its pointer;
//! `shapes` finds the points of either document shape, `definition` compiles one point's type, `data_type` names the
//! types, `place` finds what constrains them.
//! Nothing is guessed: what is not understood is refused, all of it at once; what is understood and most likely not
//! meant is a warning.

mod data_type;
mod definition;
mod node;
mod place;
mod shapes;
mod suggest;

use crate::Problem;
use crate::json::MemberName;
use crate::json::tree::Tree;
use crate::names::Names;
use crate::rule::Rule;

/// The most points of a model.
const MAX_POINTS: usize = 5000;

/// The longest identifier, in bytes.
const MAX_IDENTIFIER: usize = 128;

/// A thing model, ready to judge by. Immutable.
#[derive(Clone, Debug, Default)]
pub struct ThingModel {
    identifiers: Names,
    points: Vec<Point>,
    /// Of each identifier, for [`suggest`].
    signatures: Vec<u64>,
    /// `allowAdditionalMeasurepoint` of the console's export.
    additional_points: bool,
    warnings: Vec<Problem>,
}

/// One measurepoint of a model.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// The identifier as nearly every payload spells it.
    pub(crate) name: MemberName,
    pub(crate) quality: bool,
    pub(crate) rule: Rule,
}

impl ThingModel {
    /// Compiles a model document in either shape; it may begin with a byte-order mark.
    ///
    /// # Errors
    /// Every mistake found, with its JSON pointer.
    pub fn compile(document: &[u8]) -> Result<Self, Vec<Problem>> {
        let document = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
        let tree = Tree::parse(document)
            .map_err(|syntax| vec![Problem::new(line_of(document, syntax.offset()), syntax.to_string())])?;
        shapes::compile(&tree)
    }

    /// What is legal in the document and most likely not meant, with its JSON pointer.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The identifiers, in the order of the document.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.identifiers.iter()
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Whether the model itself lets points pass that it does not have.
    pub fn allows_additional_points(&self) -> bool {
        self.additional_points
    }

    /// The identifier that `identifier`, which the model lacks, was probably meant to be.
    pub(crate) fn suggest(&self, identifier: &str) -> Option<&str> {
        suggest::nearest(identifier, self.identifiers().zip(self.signatures.iter().copied()))
    }

    #[inline]
    pub(crate) fn point(&self, index: usize) -> Option<&Point> {
        self.points.get(index)
    }

    #[inline]
    pub(crate) fn find(&self, identifier: &[u8]) -> Option<usize> {
        self.identifiers.find(identifier)
    }

    pub(crate) fn identifier(&self, index: usize) -> &str {
        self.identifiers.get(index).unwrap_or_default()
    }
}

fn line_of(document: &[u8], offset: usize) -> String {
    let before = document.get(..offset).unwrap_or(document);
    format!("line {}", before.split(|&byte| byte == b'\n').count())
}

/// The candidate, of a few, that was probably meant.
pub(crate) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    suggest::nearest(name, candidates.map(|candidate| (candidate, suggest::signature(candidate))))
}

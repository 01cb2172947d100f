//! Thing models: documents as `EnOS` writes them, compiled into rules (contract 6.1, 6.2).
//!
//! | file | content |
//! | --- | --- |
//! | `shapes` | finds the points of a document in either shape |
//! | `definition`, `data_type` | compile one point's type; the names of types |
//! | `place` | finds what constrains a type: beside it or in its `dataDefinition` |
//! | `node` | typed access to a document; every error has its JSON pointer |
//! | `section` | the compiled points |
//! | `name_index` | finds a point by the first bytes of its name |
//! | `suggest` | the identifier that was probably meant |
//!
//! Nothing is guessed: what is not understood is refused, and all of it is reported at once. What
//! is understood and probably a mistake is a warning.

mod data_type;
mod definition;
mod name_index;
mod node;
mod place;
mod section;
mod shapes;
mod suggest;

use crate::Problem;
use crate::json::tree::Tree;
use crate::kind::{Kind, Measurepoint};

pub(crate) use section::{Point, Section};

/// Maximum number of points of a section.
const MAX_POINTS: usize = 5000;

/// Maximum length of an identifier in bytes.
const MAX_IDENTIFIER: usize = 128;

/// A thing model, compiled. Immutable.
#[derive(Clone, Debug, Default)]
pub struct ThingModel {
    pub(crate) measurepoints: Section,
    warnings: Vec<Problem>,
}

impl ThingModel {
    /// Compiles a model document in either shape; it may begin with a byte-order mark.
    ///
    /// # Errors
    /// Every mistake found, with its JSON pointer.
    pub fn compile(document: &[u8]) -> Result<Self, Vec<Problem>> {
        let document = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
        let tree = Tree::parse(document).map_err(|syntax| {
            let expected = syntax.kind().expected();
            vec![Problem::new(place_of(document, syntax.offset()), format!("expected {expected}"))]
        })?;
        let (measurepoints, warnings) = shapes::compile(&tree, &Measurepoint::TABLE.model)?;
        Ok(Self { measurepoints, warnings })
    }

    /// What is legal in the document and probably a mistake, with its JSON pointer.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The identifiers of its measurepoints, in the order of the document.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.measurepoints.identifiers()
    }

    /// Number of measurepoints.
    pub fn len(&self) -> usize {
        self.measurepoints.len()
    }

    /// Whether it has no measurepoints.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the model lets a post have measurepoints that it lacks (contract 6.1).
    pub fn allows_additional_points(&self) -> bool {
        self.measurepoints.allows_additional
    }
}

/// A byte of a document as line and column, in characters, both from 1.
fn place_of(document: &[u8], offset: usize) -> String {
    let before = document.get(..offset).unwrap_or(document);
    let line = before.split(|&byte| byte == b'\n').count();
    let last = before.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    format!("line {line}, column {}", String::from_utf8_lossy(last).chars().count() + 1)
}

/// The candidate, of a few, that was probably meant.
pub(crate) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    suggest::nearest(name, candidates.map(|candidate| (candidate, suggest::signature(candidate))))
}

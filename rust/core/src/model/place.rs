//! Finds the constraints of a type: beside the type, or in its `dataDefinition` (contract 6.1).
//!
//! Every constraint is applied, refused or warned about; none is silently ignored. The rule's
//! compiler reads those that have a meaning for its type, and [`Place::check`] handles all others.

use std::sync::LazyLock;

use crate::Problem;
use crate::display::quoted;
use crate::json::Number;
use crate::json::tree::Tree;
use crate::rule::{Bound, Bounds, Instant};

use super::data_type::DataType;
use super::node::Node;
use super::suggest::{nearest, signature};

const CONSTRAINTS: [&str; 7] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "maxLength",
    "maxSize",
    "allowAdditionalItem",
];

/// Constraints of other schema languages, which `EnOS` does not have: a warning.
const UNCHECKED: [&str; 11] = [
    "minLength",
    "minSize",
    "minItems",
    "maxItems",
    "pattern",
    "step",
    "multipleOf",
    "min",
    "max",
    "minValue",
    "maxValue",
];

/// What a warning of a constraint says that is not applied.
const ACCEPTED: &str = "is not checked: values against it are accepted";

/// [`CONSTRAINTS`] as [`nearest`] takes them.
static SIGNED: LazyLock<[(&str, u64); CONSTRAINTS.len()]> =
    LazyLock::new(|| CONSTRAINTS.map(|name| (name, signature(name))));

/// A point, a member or an element, and its `dataDefinition`, if any.
pub(super) struct Place<'t> {
    pub(super) own: Node<'t>,
    pub(super) definition: Option<Node<'t>>,
}

impl<'t> Place<'t> {
    /// A member of either; an error if both have it.
    pub(super) fn find(&self, name: &str) -> Result<Option<Node<'t>>, Problem> {
        let own = self.own.optional(name)?;
        let defined = self.definition.as_ref().map(|node| node.optional(name)).transpose()?.flatten();
        if let (Some(own), Some(_)) = (&own, &defined) {
            return Err(own.problem("expected it once, got it here and in dataDefinition"));
        }
        Ok(own.or(defined))
    }

    /// A member that the type requires; `purpose` is what an error calls it.
    pub(super) fn need(&self, name: &str, purpose: &str) -> Result<Node<'t>, Problem> {
        match (self.find(name)?, &self.definition) {
            (Some(node), _) => Ok(node),
            (None, Some(definition)) => definition.required(name),
            (None, None) => Err(Problem::new(
                format!("{}/dataDefinition", self.own.pointer),
                format!("expected {purpose}, got none"),
            )),
        }
    }

    /// Refuses constraints that are not `allowed`, and warns of constraints that are never checked.
    pub(super) fn check(
        &self,
        data_type: DataType,
        allowed: &[&str],
        warnings: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        for name in CONSTRAINTS.into_iter().filter(|name| !allowed.contains(name)) {
            if let Some(node) = self.find(name)?.filter(|node| !matches!(node.tree, Tree::Boolean(false))) {
                let type_name = data_type.name();
                let reason = format!("expected no {name} beside {type_name}, for which it means nothing");
                return Err(node.problem(reason));
            }
        }
        for name in UNCHECKED {
            if let Some(node) = self.find(name)? {
                warnings.push(node.problem(format!("{name} {ACCEPTED}")));
            }
        }
        for node in [Some(&self.own), self.definition.as_ref()].into_iter().flatten() {
            for name in node.names().filter(|name| !CONSTRAINTS.contains(name) && !UNCHECKED.contains(name)) {
                if let Some(meant) = nearest(name, SIGNED.iter().copied()) {
                    let reason = format!("{name} {ACCEPTED}; did you mean {meant}?");
                    warnings.push(node.at(name, node.tree).problem(reason));
                }
            }
        }
        for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
            if let Some(node) = self.find(exclusive)?.filter(|node| matches!(node.tree, Tree::Boolean(true)))
                && self.find(bound)?.is_none()
            {
                warnings.push(node.problem(format!("{exclusive} without {bound} constrains nothing")));
            }
        }
        Ok(())
    }

    /// A member that is true or false; false if it is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        self.find(name)?.map_or(Ok(false), |node| node.truth())
    }

    pub(super) fn count(&self, name: &str, default: usize) -> Result<usize, Problem> {
        self.find(name)?.map_or(Ok(default), |node| node.count())
    }

    /// The bounds of a number type.
    pub(super) fn numbers(&self) -> Result<Bounds<Number<'t>>, Problem> {
        self.bounds(Node::number)
    }

    /// The bounds of DATE or TIMESTAMP.
    pub(super) fn instants(&self) -> Result<Bounds<Instant<'t>>, Problem> {
        self.bounds(|node| match node.tree {
            Tree::Text(text) => Instant::parse(text).ok_or_else(|| {
                let got = quoted(text);
                node.problem(format!("expected UTC milliseconds or yyyy-MM-dd [HH:mm:ss], got {got}"))
            }),
            _ => node.number().map(Instant::Milliseconds),
        })
    }

    fn bounds<B>(&self, read: impl Fn(&Node<'t>) -> Result<B, Problem>) -> Result<Bounds<B>, Problem> {
        let bound = |name| self.find(name)?.map(|node| read(&node)).transpose();
        Ok(Bounds {
            minimum: bound("minimum")?,
            maximum: bound("maximum")?,
            exclusive_minimum: self.flag("exclusiveMinimum")?,
            exclusive_maximum: self.flag("exclusiveMaximum")?,
        })
    }

    /// The error of bounds that no value can meet.
    pub(super) fn unsatisfiable<B: Bound>(&self, bounds: &Bounds<B>) -> Problem {
        let token = |bound: Option<B>| bound.map_or("none".to_owned(), |bound| bound.token().to_owned());
        let name = if bounds.minimum.is_some() { "minimum" } else { "maximum" };
        let (minimum, maximum) = (token(bounds.minimum), token(bounds.maximum));
        let reason =
            format!("expected bounds that some value can meet, got minimum {minimum} and maximum {maximum}");
        match self.find(name) {
            Ok(Some(node)) => node.problem(reason),
            _ => self.own.problem(reason),
        }
    }
}

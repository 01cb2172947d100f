//! Typed access to the values of a document; every error has the JSON pointer of its value.

use crate::Problem;
use crate::display::quoted;
use crate::json::Number;
use crate::json::tree::Tree;

/// A value of a document and its JSON pointer.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) tree: &'t Tree<'t>,
    pub(super) pointer: String,
}

impl<'t> Node<'t> {
    pub(super) fn root(tree: &'t Tree<'t>) -> Self {
        Self { tree, pointer: String::new() }
    }

    pub(super) fn problem(&self, reason: impl Into<String>) -> Problem {
        Problem::new(&self.pointer, reason)
    }

    fn wrong_type(&self, expected: &str) -> Problem {
        self.problem(format!("expected {expected}, got {}", self.tree.json_type().name()))
    }

    /// A member or an element of it.
    pub(super) fn at(&self, segment: &str, tree: &'t Tree<'t>) -> Self {
        let segment = segment.replace('~', "~0").replace('/', "~1");
        Self { tree, pointer: format!("{}/{segment}", self.pointer) }
    }

    /// The members of an object; an error if a name repeats.
    pub(super) fn members(&self) -> Result<Vec<(&'t str, Self)>, Problem> {
        let Tree::Object(members) = self.tree else {
            return Err(self.wrong_type("object"));
        };
        let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        let twins = names.iter().zip(names.iter().skip(1));
        if let Some((name, _)) = twins.into_iter().find(|(one, other)| one == other) {
            return Err(self.at(name, self.tree).problem("expected the name once, got it again"));
        }
        Ok(members.iter().map(|(name, tree)| (&**name, self.at(name, tree))).collect())
    }

    /// The names of an object's members, in order; none of something else.
    pub(super) fn names(&self) -> impl Iterator<Item = &'t str> {
        let members = if let Tree::Object(members) = self.tree { members.as_slice() } else { &[] };
        members.iter().map(|(name, _)| &**name)
    }

    pub(super) fn elements(&self) -> Result<Vec<Self>, Problem> {
        let Tree::Array(elements) = self.tree else {
            return Err(self.wrong_type("array"));
        };
        Ok(elements.iter().enumerate().map(|(index, tree)| self.at(&index.to_string(), tree)).collect())
    }

    /// A member that can be absent; `null` counts as absent.
    pub(super) fn optional(&self, name: &str) -> Result<Option<Self>, Problem> {
        let Tree::Object(members) = self.tree else {
            return Err(self.wrong_type("object"));
        };
        let mut found = members.iter().filter(|(member, _)| member == name).map(|(_, tree)| tree);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.at(name, self.tree).problem("expected the name once, got it again"));
        }
        Ok(first.filter(|tree| !matches!(tree, Tree::Null)).map(|tree| self.at(name, tree)))
    }

    pub(super) fn required(&self, name: &str) -> Result<Self, Problem> {
        self.optional(name)?.ok_or_else(|| {
            Problem::new(
                format!("{}/{name}", self.pointer),
                format!("expected a member {}, got none", quoted(name)),
            )
        })
    }

    pub(super) fn text(&self) -> Result<&'t str, Problem> {
        match self.tree {
            Tree::Text(text) => Ok(text),
            _ => Err(self.wrong_type("string")),
        }
    }

    /// A number, or a string that is exactly one JSON number: the console's export has both.
    pub(super) fn number(&self) -> Result<Number<'t>, Problem> {
        match self.tree {
            Tree::Number(number) => Ok(*number),
            Tree::Text(text) => Number::parse(text)
                .ok_or_else(|| self.problem(format!("expected number, got string {}", quoted(text)))),
            _ => Err(self.wrong_type("number")),
        }
    }

    /// A number of bytes or elements.
    pub(super) fn count(&self) -> Result<usize, Problem> {
        match self.number()?.to_integer() {
            crate::json::Integer::Value(value) => u32::try_from(value).map(|count| count as usize).ok(),
            _ => None,
        }
        .ok_or_else(|| self.problem("expected a whole number from 0 to 4294967295"))
    }

    pub(super) fn truth(&self) -> Result<bool, Problem> {
        match self.tree {
            Tree::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// A member that is true or false; false if it is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        self.optional(name)?.map_or(Ok(false), |node| node.truth())
    }
}

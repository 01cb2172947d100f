//! The type names of `EnOS`, and what may stand beside each of them (contract 6.1).

use crate::Problem;
use crate::display::quoted;

use super::node::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    Int,
    Float,
    Double,
    Bool,
    String,
    Enum,
    Date,
    Timestamp,
    Array,
    Struct,
    File,
}

/// The first name of a type is the one that is shown.
const NAMES: [(&str, DataType); 12] = [
    ("INT", DataType::Int),
    ("FLOAT", DataType::Float),
    ("DOUBLE", DataType::Double),
    ("BOOL", DataType::Bool),
    ("STRING", DataType::String),
    ("TEXT", DataType::String),
    ("ENUM", DataType::Enum),
    ("DATE", DataType::Date),
    ("TIMESTAMP", DataType::Timestamp),
    ("ARRAY", DataType::Array),
    ("STRUCT", DataType::Struct),
    ("FILE", DataType::File),
];

impl DataType {
    /// By its name, in any case.
    fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, data_type)| data_type)
    }

    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|&&(_, data_type)| data_type == self).map_or("", |(name, _)| name)
    }

    /// Only these may carry a quality (contract 5.2).
    pub(super) fn may_have_quality(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Double)
    }

    pub(super) fn may_be_element(self) -> bool {
        self.may_have_quality() || self == Self::String
    }

    /// The constraints that mean something for its values.
    pub(super) fn constraints(self) -> &'static [&'static str] {
        match self {
            Self::Int | Self::Float | Self::Double | Self::Date | Self::Timestamp => {
                &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
            }
            Self::String | Self::File => &["maxLength"],
            Self::Array => &["maxSize"],
            Self::Struct => &["allowAdditionalItem"],
            Self::Bool | Self::Enum => &[],
        }
    }
}

/// Reads a member that names a type.
pub(super) fn read_data_type(node: &Node<'_>) -> Result<DataType, Problem> {
    let name = node.text()?;
    DataType::named(name).ok_or_else(|| {
        let known = NAMES.map(|(name, _)| name).join(", ");
        node.problem(format!("expected one of {known}, got {}", quoted(name)))
    })
}

/// Reads the `$class` of a point, a member or an element: `….TSLDoubleMeasurepoint` or `….TSLDouble` is a DOUBLE.
pub(super) fn read_class(node: &Node<'_>) -> Result<DataType, Problem> {
    let class = node.text()?;
    let name = class.rsplit(['.', '$']).next().unwrap_or(class);
    name.strip_prefix("TSL")
        .map(|name| name.strip_suffix("Measurepoint").unwrap_or(name))
        .and_then(DataType::named)
        .ok_or_else(|| {
            let reason =
                format!("expected a class TSL<Type>Measurepoint or TSL<Type>, got {}", quoted(class));
            node.problem(reason)
        })
}

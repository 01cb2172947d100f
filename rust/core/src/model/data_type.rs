//! The data types of `EnOS`: their names and the constraints of each (contract 6.1).

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

/// Names and aliases; messages show the first name of a type.
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
    /// The type with this name, in upper or lower case.
    fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, data_type)| data_type)
    }

    pub(super) fn name(self) -> &'static str {
        let name = NAMES.iter().find_map(|&(name, data_type)| (data_type == self).then_some(name));
        name.unwrap_or_else(|| unreachable!("every type is in NAMES"))
    }

    /// Whether points of this type can have a quality (contract 5.2).
    pub(super) fn may_have_quality(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Double)
    }

    pub(super) fn may_be_element(self) -> bool {
        self.may_have_quality() || self == Self::String
    }

    /// The constraints that have a meaning for its values.
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

/// Reads the `$class` of a point, a member or an element: `….TSLDoubleMeasurepoint`, with the
/// suffix of its kind, or `….TSLDouble` is a DOUBLE.
pub(super) fn read_class(node: &Node<'_>, suffix: &str) -> Result<DataType, Problem> {
    let class = node.text()?;
    let name = class.rsplit(['.', '$']).next().unwrap_or(class);
    name.strip_prefix("TSL")
        .map(|name| name.strip_suffix(suffix).unwrap_or(name))
        .and_then(DataType::named)
        .ok_or_else(|| {
            let reason = format!("expected a class TSL<Type>{suffix} or TSL<Type>, got {}", quoted(class));
            node.problem(reason)
        })
}

//! One point's or member's type: `dataType`, bounds and `dataDefinition` into a rule.

use crate::Problem;
use crate::display::quoted;
use crate::json::tree::Tree;
use crate::json::{Integer, Number};
use crate::rule::{
    ArrayRule, Bounds, DEFAULT_MAX_LENGTH, DEFAULT_MAX_SIZE, DoubleRule, FloatRule, IntEnum, IntRule, Rule,
    StructRule, TextEnum, TextRule,
};

use super::MAX_IDENTIFIER;
use super::node::Node;

/// The type names of `EnOS`.
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

const DATA_TYPES: [(&str, DataType); 11] = [
    ("INT", DataType::Int),
    ("FLOAT", DataType::Float),
    ("DOUBLE", DataType::Double),
    ("BOOL", DataType::Bool),
    ("STRING", DataType::String),
    ("ENUM", DataType::Enum),
    ("DATE", DataType::Date),
    ("TIMESTAMP", DataType::Timestamp),
    ("ARRAY", DataType::Array),
    ("STRUCT", DataType::Struct),
    ("FILE", DataType::File),
];

impl DataType {
    /// By its name, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        DATA_TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, data_type)| data_type)
    }

    /// Only these may carry a quality (contract 5.2).
    pub(super) fn may_have_quality(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Double)
    }

    fn may_be_element(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Double | Self::String)
    }
}

/// Reads a member that names a type.
pub(super) fn read_data_type(node: &Node<'_>) -> Result<DataType, Problem> {
    let name = node.text()?;
    DataType::named(name).ok_or_else(|| {
        let known = DATA_TYPES.map(|(name, _)| name).join(", ");
        node.problem(format!("expected one of {known}, got {}", quoted(name)))
    })
}

/// Compiles the type of `point`, whose keys of an enumeration may stand in its own `specsMap`.
pub(super) fn compile(data_type: DataType, point: &Node<'_>) -> Result<Rule, Problem> {
    let definition = point.optional("dataDefinition")?;
    let Some(node) = definition else {
        return compile_defined(data_type, point, None);
    };
    // The model service also writes the definition as JSON text in a string.
    let text_tree;
    let definition = match node.tree {
        Tree::Text(text) if text.is_empty() => None,
        Tree::Text(text) => {
            text_tree = Tree::parse(text.as_bytes())
                .map_err(|syntax| node.problem(format!("expected JSON text: {syntax}")))?;
            Some(Node { tree: &text_tree, pointer: node.pointer })
                .filter(|node| !matches!(node.tree, Tree::Null))
        }
        _ => Some(node),
    };
    if let Some(definition) = &definition {
        definition.members()?;
    }
    compile_defined(data_type, point, definition.as_ref())
}

fn compile_defined(
    data_type: DataType,
    point: &Node<'_>,
    definition: Option<&Node<'_>>,
) -> Result<Rule, Problem> {
    for bound in ["minimum", "maximum"] {
        point.optional(bound)?.map(|node| node.number()).transpose()?;
    }
    match data_type {
        DataType::Bool => Ok(Rule::Bool),
        DataType::Date => Ok(Rule::Date),
        DataType::Timestamp => Ok(Rule::Timestamp),
        DataType::File => Ok(Rule::Text(TextRule { type_name: "FILE", max_length: DEFAULT_MAX_LENGTH })),
        DataType::Int | DataType::Float | DataType::Double | DataType::String => {
            compile_scalar(data_type, point, definition)
        }
        DataType::Enum => compile_enum(point, definition),
        DataType::Array => compile_array(point, definition),
        DataType::Struct => compile_struct(point, definition),
    }
}

/// Bounds stand beside the type; `maxLength` stands in the definition.
fn compile_scalar(
    data_type: DataType,
    point: &Node<'_>,
    definition: Option<&Node<'_>>,
) -> Result<Rule, Problem> {
    if data_type == DataType::String {
        let max_length = limit(definition, "maxLength", DEFAULT_MAX_LENGTH)?;
        return Ok(Rule::Text(TextRule { type_name: "STRING", max_length }));
    }
    let bound = |name| point.optional(name)?.map(|node| node.number()).transpose();
    let bounds: Bounds<'_> = Bounds {
        minimum: bound("minimum")?,
        maximum: bound("maximum")?,
        exclusive_minimum: point.flag("exclusiveMinimum")?,
        exclusive_maximum: point.flag("exclusiveMaximum")?,
    };
    match data_type {
        DataType::Int => IntRule::new(&bounds).map(Rule::Int),
        DataType::Float => FloatRule::new(&bounds).map(Rule::Float),
        _ => DoubleRule::new(&bounds).map(Rule::Double),
    }
    .ok_or_else(|| {
        let bound = |number: Option<Number<'_>>| number.map_or("none".to_owned(), |n| n.token().to_owned());
        let place = if bounds.minimum.is_some() { "minimum" } else { "maximum" };
        Problem::new(
            format!("{}/{place}", point.pointer),
            format!(
                "expected bounds that some value can meet, got minimum {} and maximum {}",
                bound(bounds.minimum),
                bound(bounds.maximum)
            ),
        )
    })
}

fn limit(definition: Option<&Node<'_>>, name: &str, default: usize) -> Result<usize, Problem> {
    match definition.map(|node| node.optional(name)).transpose()?.flatten() {
        Some(node) => node.count(),
        None => Ok(default),
    }
}

fn need<'n, 't>(
    point: &Node<'_>,
    definition: Option<&'n Node<'t>>,
    purpose: &str,
) -> Result<&'n Node<'t>, Problem> {
    definition.ok_or_else(|| {
        Problem::new(format!("{}/dataDefinition", point.pointer), format!("expected {purpose}, got none"))
    })
}

fn compile_enum(point: &Node<'_>, definition: Option<&Node<'_>>) -> Result<Rule, Problem> {
    let (keys, integral) = if let Some(keys) = point.optional("specsMap")? {
        // The console's export: true means whole numbers.
        point.required("valueType")?;
        (keys, point.flag("valueType")?)
    } else {
        let definition = need(point, definition, "enumType and enumDesc")?;
        let kind = definition.required("enumType")?;
        match read_data_type(&kind)? {
            DataType::Int => (definition.required("enumDesc")?, true),
            DataType::String => (definition.required("enumDesc")?, false),
            _ => {
                return Err(kind.problem(format!("expected INT or STRING, got {}", quoted(kind.text()?))));
            }
        }
    };
    let members = keys.members()?;
    if members.is_empty() {
        return Err(keys.problem("expected at least one key, got none"));
    }
    if !integral {
        return Ok(Rule::TextEnum(TextEnum::new(members.into_iter().map(|(key, _)| key.into()).collect())));
    }
    let mut numbers = Vec::with_capacity(members.len());
    for (key, node) in members {
        match Number::parse(key).filter(|_| !key.contains(['.', 'e', 'E'])).map(Number::to_integer) {
            Some(Integer::Value(number)) => numbers.push(number),
            _ => return Err(node.problem(format!("expected a whole number as key, got {}", quoted(key)))),
        }
    }
    Ok(Rule::IntEnum(IntEnum::new(numbers)))
}

fn compile_array(point: &Node<'_>, definition: Option<&Node<'_>>) -> Result<Rule, Problem> {
    let definition = need(point, definition, "itemType")?;
    let item_type = definition.required("itemType")?;
    let data_type = read_data_type(&item_type)?;
    if !data_type.may_be_element() {
        let got = quoted(item_type.text()?);
        return Err(item_type.problem(format!("expected INT, FLOAT, DOUBLE or STRING, got {got}")));
    }
    let element = Box::new(compile_scalar(data_type, point, Some(definition))?);
    let max_size = limit(Some(definition), "maxSize", DEFAULT_MAX_SIZE)?;
    Ok(Rule::Array(ArrayRule { element, max_size }))
}

fn compile_struct(point: &Node<'_>, definition: Option<&Node<'_>>) -> Result<Rule, Problem> {
    let items = need(point, definition, "items")?.required("items")?;
    let mut rule = StructRule::default();
    for item in items.elements()? {
        let identifier = item.required("identifier")?;
        let name = read_identifier(&identifier)?;
        let type_node = item.required("dataType")?;
        let data_type = read_data_type(&type_node)?;
        if data_type == DataType::Struct {
            return Err(type_node.problem("expected no struct inside a struct"));
        }
        if item.flag("hasQuality")? {
            return Err(item.required("hasQuality")?.problem("expected no quality inside a struct"));
        }
        if !rule.add(name, item.flag("required")?, compile(data_type, &item)?) {
            return Err(identifier.problem("expected the name once, got it again"));
        }
    }
    Ok(Rule::Struct(rule))
}

fn read_identifier<'t>(node: &Node<'t>) -> Result<&'t str, Problem> {
    let identifier = node.text()?;
    check_identifier(identifier).map_err(|reason| node.problem(reason))?;
    Ok(identifier)
}

pub(super) fn check_identifier(identifier: &str) -> Result<(), String> {
    if identifier.contains('\0') {
        // No store keeps it faithfully, as for values (contract 5.6).
        return Err("expected an identifier without U+0000".to_owned());
    }
    if (1..=MAX_IDENTIFIER).contains(&identifier.len()) {
        return Ok(());
    }
    Err(format!("expected an identifier of 1 to {MAX_IDENTIFIER} bytes, got {} bytes", identifier.len()))
}

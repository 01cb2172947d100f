//! Compiles the type and the constraints of a point, a member or an element into a rule.

use crate::Problem;
use crate::display::quoted;
use crate::json::tree::Tree;
use crate::json::{Integer, Number};
use crate::kind::SectionNames;
use crate::rule::{
    ArrayRule, BoolRule, Bound, Bounds, DEFAULT_MAX_LENGTH, DEFAULT_MAX_SIZE, DateRule, DoubleRule, FILE,
    FloatRule, IntEnum, IntRule, Rule, STRING, StructRule, TextEnum, TextRule, TimestampRule,
};

use super::MAX_IDENTIFIER;
use super::data_type::{DataType, read_class, read_data_type};
use super::node::Node;
use super::place::Place;

/// What compiling a section needs, and what it produces besides rules.
pub(super) struct Context<'n> {
    pub(super) names: &'n SectionNames,
    pub(super) warnings: Vec<Problem>,
}

/// Compiles the type of `point`; what is legal and probably a mistake is added to the warnings.
pub(super) fn compile(
    data_type: DataType,
    point: &Node<'_>,
    context: &mut Context<'_>,
) -> Result<Rule, Problem> {
    let Some(node) = point.optional("dataDefinition")? else {
        return compile_at(data_type, &Place { own: point.clone(), definition: None }, &[], context);
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
    compile_at(data_type, &Place { own: point.clone(), definition }, &[], context)
}

/// `elsewhere` are constraints that stand here and belong to the type around this one.
fn compile_at(
    data_type: DataType,
    place: &Place<'_>,
    elsewhere: &[&'static str],
    context: &mut Context<'_>,
) -> Result<Rule, Problem> {
    match data_type {
        DataType::Array => return compile_array(place, context),
        DataType::Struct => return compile_struct(place, context),
        _ => place.check(data_type, &[data_type.constraints(), elsewhere].concat(), &mut context.warnings)?,
    }
    match data_type {
        DataType::Bool => Ok(Rule::Bool(BoolRule)),
        DataType::Enum => compile_enum(place),
        _ => compile_scalar(data_type, place),
    }
}

/// INT, FLOAT, DOUBLE, DATE, TIMESTAMP, STRING and FILE.
fn compile_scalar(data_type: DataType, place: &Place<'_>) -> Result<Rule, Problem> {
    match data_type {
        DataType::Int => within(place, place.numbers()?, |bounds| IntRule::new(bounds).map(Rule::Int)),
        DataType::Float => within(place, place.numbers()?, |bounds| FloatRule::new(bounds).map(Rule::Float)),
        DataType::Double => {
            within(place, place.numbers()?, |bounds| DoubleRule::new(bounds).map(Rule::Double))
        }
        DataType::Date => within(place, place.instants()?, |bounds| DateRule::new(bounds).map(Rule::Date)),
        DataType::Timestamp => {
            within(place, place.instants()?, |bounds| TimestampRule::new(bounds).map(Rule::Timestamp))
        }
        _ => {
            let max_length = place.count("maxLength", DEFAULT_MAX_LENGTH)?;
            let names = if data_type == DataType::File { &FILE } else { &STRING };
            Ok(Rule::Text(TextRule { names, max_length }))
        }
    }
}

fn within<B: Bound>(
    place: &Place<'_>,
    bounds: Bounds<B>,
    rule: impl Fn(&Bounds<B>) -> Option<Rule>,
) -> Result<Rule, Problem> {
    rule(&bounds).ok_or_else(|| place.unsatisfiable(&bounds))
}

fn compile_enum(place: &Place<'_>) -> Result<Rule, Problem> {
    let (keys, integral) = if let Some(keys) = place.find("specsMap")? {
        // In the console's export, true means integer keys.
        let value_type = place.find("valueType")?;
        (keys, value_type.map_or_else(|| place.own.required("valueType"), Ok)?.truth()?)
    } else {
        let kind = place.need("enumType", "enumType and enumDesc")?;
        let integral = match read_data_type(&kind)? {
            DataType::Int => true,
            DataType::String => false,
            _ => {
                return Err(kind.problem(format!("expected INT or STRING, got {}", quoted(kind.text()?))));
            }
        };
        (place.need("enumDesc", "enumType and enumDesc")?, integral)
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

fn compile_array(place: &Place<'_>, context: &mut Context<'_>) -> Result<Rule, Problem> {
    let Some(inner) = place.find("innerType")? else {
        let item_type = place.need("itemType", "innerType or itemType")?;
        let data_type = element(read_data_type(&item_type)?, &item_type)?;
        let allowed = [DataType::Array.constraints(), data_type.constraints()].concat();
        place.check(DataType::Array, &allowed, &mut context.warnings)?;
        let max_size = place.count("maxSize", DEFAULT_MAX_SIZE)?;
        return Ok(Rule::Array(ArrayRule { element: Box::new(compile_scalar(data_type, place)?), max_size }));
    };
    if let Some(item_type) = place.find("itemType")? {
        return Err(item_type.problem("expected innerType or itemType, got both"));
    }
    place.check(DataType::Array, DataType::Array.constraints(), &mut context.warnings)?;
    let class = inner.required("$class")?;
    let data_type = element(read_class(&class, context.names.class_suffix)?, &class)?;
    warn_of_quality("an ARRAY", &inner, context)?;
    // The array's own size can be in its element.
    let mut max_size = place.find("maxSize")?;
    if let Some(size) = inner.optional("maxSize")?
        && let Some(own) = max_size.replace(size)
    {
        return Err(own.problem("expected it once, got it here and in innerType"));
    }
    let max_size = max_size.map_or(Ok(DEFAULT_MAX_SIZE), |node| node.count())?;
    let inner = Place { own: inner, definition: None };
    if let Some(definition) = inner.own.optional("dataDefinition")? {
        return Err(definition.problem("expected what constrains the elements beside their $class"));
    }
    let element = compile_at(data_type, &inner, DataType::Array.constraints(), context)?;
    Ok(Rule::Array(ArrayRule { element: Box::new(element), max_size }))
}

fn element(data_type: DataType, node: &Node<'_>) -> Result<DataType, Problem> {
    if data_type.may_be_element() {
        return Ok(data_type);
    }
    Err(node.problem(format!("expected INT, FLOAT, DOUBLE or STRING, got {}", quoted(node.text()?))))
}

fn compile_struct(place: &Place<'_>, context: &mut Context<'_>) -> Result<Rule, Problem> {
    place.check(DataType::Struct, DataType::Struct.constraints(), &mut context.warnings)?;
    let mut rule = StructRule::new(place.flag("allowAdditionalItem")?);
    let Some(members) = place.find("struct")? else {
        for item in place.need("items", "struct or items")?.elements()? {
            let identifier = item.required("identifier")?;
            let name = identifier.text()?;
            check_identifier(name).map_err(|reason| identifier.problem(reason))?;
            let type_node = item.required("dataType")?;
            let data_type = member(read_data_type(&type_node)?, &type_node)?;
            if item.flag("hasQuality")? {
                return Err(item.required("hasQuality")?.problem("expected no quality inside a struct"));
            }
            if !rule.add(name, item.flag("required")?, compile(data_type, &item, context)?) {
                return Err(identifier.problem("expected the name once, got it again"));
            }
        }
        return Ok(Rule::Struct(rule));
    };
    if let Some(items) = place.find("items")? {
        return Err(items.problem("expected struct or items, got both"));
    }
    for (name, node) in members.members()? {
        check_names(name, &node)?;
        let class = node.required("$class")?;
        let data_type = member(read_class(&class, context.names.class_suffix)?, &class)?;
        warn_of_quality("a STRUCT", &node, context)?;
        rule.add(name, node.flag("required")?, compile(data_type, &node, context)?);
    }
    Ok(Rule::Struct(rule))
}

fn member(data_type: DataType, node: &Node<'_>) -> Result<DataType, Problem> {
    match data_type {
        DataType::Struct => Err(node.problem("expected no struct inside a struct")),
        _ => Ok(data_type),
    }
}

/// Warns of `hasQuality` inside another type, where it has no meaning (contract 5.2); the console
/// writes it everywhere.
fn warn_of_quality(inside: &str, node: &Node<'_>, context: &mut Context<'_>) -> Result<(), Problem> {
    if node.flag("hasQuality")? {
        let reason = format!("hasQuality is ignored: nothing inside {inside} has a quality");
        context.warnings.push(node.required("hasQuality")?.problem(reason));
    }
    Ok(())
}

/// Checks the identifier of an entry of a map: its length, and that it equals the entry's own
/// `identifier`, if any.
pub(super) fn check_names(identifier: &str, node: &Node<'_>) -> Result<(), Problem> {
    check_identifier(identifier).map_err(|reason| node.problem(reason))?;
    match node.optional("identifier")? {
        Some(own) if own.text()? != identifier => {
            let (expected, got) = (quoted(identifier), quoted(own.text()?));
            Err(own.problem(format!("expected {expected}, got {got}")))
        }
        _ => Ok(()),
    }
}

fn check_identifier(identifier: &str) -> Result<(), String> {
    if identifier.contains('\0') {
        // No store keeps it faithfully, as for values (contract 5.6).
        return Err("expected an identifier without U+0000".to_owned());
    }
    if (1..=MAX_IDENTIFIER).contains(&identifier.len()) {
        return Ok(());
    }
    Err(format!("expected an identifier of 1 to {MAX_IDENTIFIER} bytes, got {} bytes", identifier.len()))
}

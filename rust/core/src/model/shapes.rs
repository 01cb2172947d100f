//! Finds the points of a document in either shape: that of the model service's API
//! (`measurepoints`, `dataType`) and that of the console's export (`thingMeasurepointMap`,
//! `$class`).

use crate::Problem;
use crate::display::{quoted, shown};
use crate::json::MemberName;
use crate::json::tree::Tree;
use crate::kind::SectionNames;

use super::data_type::{read_class, read_data_type};
use super::definition::Context;
use super::node::Node;
use super::{MAX_POINTS, Point, Section, definition};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Api,
    Export,
}

/// Names under which replies of the model service contain models.
const WRAPPERS: [&str; 6] = ["data", "items", "list", "models", "records", "result"];

/// Maximum depth of arrays and wrappers around a model.
const MAX_WRAPPERS: usize = 4;

/// Maximum number of models that an error names.
const LISTED: usize = 5;

/// Compiles the section with these names. Returns it with warnings of what is legal and probably a
/// mistake.
pub(super) fn compile(
    tree: &Tree<'_>,
    names: &SectionNames,
) -> Result<(Section, Vec<Problem>), Vec<Problem>> {
    let root = Node::root(tree);
    let one = |problem| vec![problem];
    let model = find_model(&root, names).map_err(one)?;
    let (shape, points, allows_additional) = find_points(&model, names).map_err(one)?;
    let members = points.members().map_err(one)?;
    if !(1..=MAX_POINTS).contains(&members.len()) {
        let reason = format!("expected 1 to {MAX_POINTS} points, got {}", members.len());
        return Err(vec![points.problem(reason)]);
    }
    let mut section = Section::new(allows_additional);
    let mut context = Context { names, warnings: Vec::new() };
    let mut problems = Vec::new();
    for (identifier, node) in members {
        match compile_point(shape, identifier, &node, &mut context) {
            Ok(point) => section.add(identifier, point),
            Err(problem) => problems.push(problem),
        }
    }
    section.finish();
    if problems.is_empty() { Ok((section, context.warnings)) } else { Err(problems) }
}

/// The model of a document: the document itself, or the only model in a saved reply of the model
/// service.
fn find_model<'t>(root: &Node<'t>, names: &SectionNames) -> Result<Node<'t>, Problem> {
    let mut found = Vec::new();
    if is_model(root.tree, names) {
        return Ok(root.clone());
    }
    collect_models(root, names, 0, &mut found);
    match found.as_slice() {
        [] => Ok(root.clone()),
        [model] => Ok(model.clone()),
        [first, ..] => {
            let more = if found.len() > LISTED { ", …" } else { "" };
            let models: Vec<_> = found.iter().take(LISTED).map(named).collect();
            let path = first.pointer.split('/').skip(1).map(|name| match name.parse::<usize>() {
                Ok(index) => format!("[{index}]"),
                Err(_) => format!(".{name}"),
            });
            Err(root.problem(format!(
                "expected one model, got {}: {}{more}; cut one out, such as with jq '.{}'",
                found.len(),
                models.join(", "),
                path.collect::<String>().trim_start_matches('.'),
            )))
        }
    }
}

/// A model's pointer, and its id, if any.
fn named(model: &Node<'_>) -> String {
    let id = ["modelId", "thingModelId"].into_iter().find_map(|name| match model.optional(name) {
        Ok(Some(node)) => node.text().ok().map(shown),
        _ => None,
    });
    id.map_or(model.pointer.clone(), |id| format!("{} ({id})", model.pointer))
}

fn is_model(tree: &Tree<'_>, names: &SectionNames) -> bool {
    let Tree::Object(members) = tree else { return false };
    members.iter().any(|(name, _)| name == names.api || name == names.export)
}

fn collect_models<'t>(node: &Node<'t>, names: &SectionNames, depth: usize, found: &mut Vec<Node<'t>>) {
    if is_model(node.tree, names) {
        return found.push(node.clone());
    }
    if depth == MAX_WRAPPERS {
        return;
    }
    let inside = match node.tree {
        Tree::Array(_) => node.elements().unwrap_or_else(|_| unreachable!("it is an array")),
        Tree::Object(_) => WRAPPERS.iter().filter_map(|name| node.optional(name).ok().flatten()).collect(),
        _ => Vec::new(),
    };
    for node in &inside {
        collect_models(node, names, depth + 1, found);
    }
}

/// The shape of a model, the node of its points, and whether it allows points that it lacks.
fn find_points<'t>(root: &Node<'t>, names: &SectionNames) -> Result<(Shape, Node<'t>, bool), Problem> {
    let SectionNames { api, export, allow_additional, .. } = names;
    match (root.optional(api)?, root.optional(export)?) {
        (Some(points), None) => Ok((Shape::Api, points, false)),
        (None, Some(points)) => Ok((Shape::Export, points, root.flag(allow_additional)?)),
        (Some(_), Some(_)) => Err(root.problem(format!("expected {api} or {export}, got both"))),
        (None, None) => {
            let hint = reply_hint(root).unwrap_or_default();
            Err(root.problem(format!("expected {api} or {export}, got neither{hint}")))
        }
    }
}

/// The code and the message of a reply of the model service without a model.
fn reply_hint(root: &Node<'_>) -> Option<String> {
    let code = root.optional("code").ok()??.number().ok()?;
    let message = root.optional("msg").ok().flatten().and_then(|node| node.text().ok());
    let message = message.map_or(String::new(), |text| format!(", {}", quoted(text)));
    Some(format!(
        "; this is a reply of the model service without a model: code {}{message}",
        shown(code.token())
    ))
}

fn compile_point(
    shape: Shape,
    identifier: &str,
    node: &Node<'_>,
    context: &mut Context<'_>,
) -> Result<Point, Problem> {
    definition::check_names(identifier, node)?;
    let data_type = match shape {
        Shape::Api => read_data_type(&node.required("dataType")?)?,
        Shape::Export => read_class(&node.required("$class")?, context.names.class_suffix)?,
    };
    let mut quality = node.flag("hasQuality")?;
    if quality && !data_type.may_have_quality() {
        let place = node.required("hasQuality")?;
        if shape == Shape::Api {
            return Err(place.problem("expected quality only for INT, FLOAT and DOUBLE"));
        }
        // The console writes it everywhere.
        quality = false;
        context
            .warnings
            .push(place.problem(format!("hasQuality is ignored: {} has no quality", data_type.name())));
    }
    if node.flag("required")? {
        let reason = "required is not checked: a post may leave out any point";
        context.warnings.push(node.required("required")?.problem(reason));
    }
    let rule = definition::compile(data_type, node, context)?;
    Ok(Point { name: MemberName::new(identifier), quality, rule })
}

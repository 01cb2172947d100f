//! Where the two shapes of a model document keep their points: the model service's API
//! (`measurepoints`, `dataType`) and the console's export (`thingMeasurepointMap`, `$class`).

use crate::Problem;
use crate::display::{quoted, shown};
use crate::json::MemberName;
use crate::json::tree::Tree;

use super::data_type::{read_class, read_data_type};
use super::node::Node;
use super::{MAX_POINTS, Point, ThingModel, definition, suggest};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Api,
    Export,
}

const API_POINTS: &str = "measurepoints";
const EXPORT_POINTS: &str = "thingMeasurepointMap";

/// Under these names the model service's replies hold models.
const WRAPPERS: [&str; 6] = ["data", "items", "list", "models", "records", "result"];

/// How deep in arrays and wrappers a model is looked for.
const MAX_WRAPPERS: usize = 4;

/// How many models of several a refusal names.
const LISTED: usize = 5;

pub(super) fn compile(tree: &Tree<'_>) -> Result<ThingModel, Vec<Problem>> {
    let root = Node::root(tree);
    let one = |problem| vec![problem];
    let model = find_model(&root).map_err(one)?;
    let (shape, points, additional_points) = find_points(&model).map_err(one)?;
    let members = points.members().map_err(one)?;
    if !(1..=MAX_POINTS).contains(&members.len()) {
        let reason = format!("expected 1 to {MAX_POINTS} points, got {}", members.len());
        return Err(vec![points.problem(reason)]);
    }
    let mut model = ThingModel { additional_points, ..ThingModel::default() };
    let mut problems = Vec::new();
    for (identifier, node) in members {
        match compile_point(shape, identifier, &node, &mut model.warnings) {
            Ok(point) => {
                model.identifiers.insert(identifier);
                model.signatures.push(suggest::signature(identifier));
                model.points.push(point);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(model) } else { Err(problems) }
}

/// The document's model: the document itself, or the only one in a saved reply of the model service.
fn find_model<'t>(root: &Node<'t>) -> Result<Node<'t>, Problem> {
    let mut found = Vec::new();
    if is_model(root.tree) {
        return Ok(root.clone());
    }
    collect_models(root, 0, &mut found);
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

/// A model's pointer and what it calls itself.
fn named(model: &Node<'_>) -> String {
    let id = ["modelId", "thingModelId"].into_iter().find_map(|name| match model.optional(name) {
        Ok(Some(node)) => node.text().ok().map(shown),
        _ => None,
    });
    id.map_or(model.pointer.clone(), |id| format!("{} ({id})", model.pointer))
}

fn is_model(tree: &Tree<'_>) -> bool {
    let Tree::Object(members) = tree else { return false };
    members.iter().any(|(name, _)| name == API_POINTS || name == EXPORT_POINTS)
}

fn collect_models<'t>(node: &Node<'t>, depth: usize, found: &mut Vec<Node<'t>>) {
    if is_model(node.tree) {
        return found.push(node.clone());
    }
    if depth == MAX_WRAPPERS {
        return;
    }
    let inside = match node.tree {
        Tree::Array(_) => node.elements().unwrap_or_default(),
        Tree::Object(_) => WRAPPERS.iter().filter_map(|name| node.optional(name).ok().flatten()).collect(),
        _ => Vec::new(),
    };
    for node in &inside {
        collect_models(node, depth + 1, found);
    }
}

fn find_points<'t>(root: &Node<'t>) -> Result<(Shape, Node<'t>, bool), Problem> {
    match (root.optional(API_POINTS)?, root.optional(EXPORT_POINTS)?) {
        (Some(points), None) => Ok((Shape::Api, points, false)),
        (None, Some(points)) => Ok((Shape::Export, points, root.flag("allowAdditionalMeasurepoint")?)),
        (Some(_), Some(_)) => {
            Err(root.problem(format!("expected {API_POINTS} or {EXPORT_POINTS}, got both")))
        }
        (None, None) => {
            let hint = reply_hint(root).unwrap_or_default();
            Err(root.problem(format!("expected {API_POINTS} or {EXPORT_POINTS}, got neither{hint}")))
        }
    }
}

/// What a reply of the model service without a model says.
fn reply_hint(root: &Node<'_>) -> Option<String> {
    let code = root.optional("code").ok()??.number().ok()?;
    let said = root.optional("msg").ok().flatten().and_then(|node| node.text().ok());
    let said = said.map_or(String::new(), |text| format!(", {}", quoted(text)));
    Some(format!(
        "; this is a reply of the model service without a model: code {}{said}",
        shown(code.token())
    ))
}

fn compile_point(
    shape: Shape,
    identifier: &str,
    node: &Node<'_>,
    warnings: &mut Vec<Problem>,
) -> Result<Point, Problem> {
    definition::check_names(identifier, node)?;
    let data_type = match shape {
        Shape::Api => read_data_type(&node.required("dataType")?)?,
        Shape::Export => read_class(&node.required("$class")?)?,
    };
    let mut quality = node.flag("hasQuality")?;
    if quality && !data_type.may_have_quality() {
        let place = node.required("hasQuality")?;
        if shape == Shape::Api {
            return Err(place.problem("expected quality only for INT, FLOAT and DOUBLE"));
        }
        // The console writes it beside everything.
        quality = false;
        warnings.push(place.problem(format!("hasQuality is ignored: {} has no quality", data_type.name())));
    }
    if node.flag("required")? {
        let reason = "required is not checked: a post may leave out any point";
        warnings.push(node.required("required")?.problem(reason));
    }
    let rule = definition::compile(data_type, node, warnings)?;
    Ok(Point { name: MemberName::new(identifier), quality, rule })
}

//! Where the two shapes of a model document keep their points: the model service's API
//! (`measurepoints`, `dataType`) and the console's export (`thingMeasurepointMap`, `$class`).

use crate::Problem;
use crate::display::quoted;
use crate::json::MemberName;
use crate::json::tree::Tree;
use crate::names::Names;

use super::definition::{self, DataType};
use super::node::Node;
use super::{MAX_POINTS, Point, ThingModel, suggest};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Api,
    Export,
}

const API_POINTS: &str = "measurepoints";
const EXPORT_POINTS: &str = "thingMeasurepointMap";

pub(super) fn compile(tree: &Tree<'_>) -> Result<ThingModel, Vec<Problem>> {
    let root = Node::root(tree);
    let (shape, points, additional_points) = find_points(&root).map_err(|problem| vec![problem])?;
    let members = points.members().map_err(|problem| vec![problem])?;
    if members.len() > MAX_POINTS {
        let reason = format!("expected at most {MAX_POINTS} points, got {}", members.len());
        return Err(vec![points.problem(reason)]);
    }
    let mut model = ThingModel {
        identifiers: Names::default(),
        points: Vec::new(),
        signatures: Vec::new(),
        additional_points,
    };
    let mut problems = Vec::new();
    for (identifier, node) in members {
        match compile_point(shape, identifier, &node) {
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

fn find_points<'t>(root: &Node<'t>) -> Result<(Shape, Node<'t>, bool), Problem> {
    match (root.optional(API_POINTS)?, root.optional(EXPORT_POINTS)?) {
        (Some(points), None) => Ok((Shape::Api, points, false)),
        (None, Some(points)) => Ok((Shape::Export, points, root.flag("allowAdditionalMeasurepoint")?)),
        (Some(_), Some(_)) => {
            Err(root.problem(format!("expected {API_POINTS} or {EXPORT_POINTS}, got both")))
        }
        (None, None) => {
            let wrapped = root.optional("data").ok().flatten();
            let hint = match wrapped.and_then(|data| data.optional(API_POINTS).ok().flatten()) {
                Some(_) => "; this is a whole reply of the model service: keep its data alone",
                None => "",
            };
            Err(root.problem(format!("expected {API_POINTS} or {EXPORT_POINTS}, got neither{hint}")))
        }
    }
}

fn compile_point(shape: Shape, identifier: &str, node: &Node<'_>) -> Result<Point, Problem> {
    definition::check_identifier(identifier).map_err(|reason| node.problem(reason))?;
    if let Some(own) = node.optional("identifier")? {
        let name = own.text()?;
        if name != identifier {
            return Err(own.problem(format!("expected {}, got {}", quoted(identifier), quoted(name))));
        }
    }
    let data_type = match shape {
        Shape::Api => definition::read_data_type(&node.required("dataType")?)?,
        Shape::Export => read_class(&node.required("$class")?)?,
    };
    let quality = node.flag("hasQuality")?;
    if quality && !data_type.may_have_quality() {
        let reason = "expected quality only for INT, FLOAT and DOUBLE";
        return Err(node.required("hasQuality")?.problem(reason));
    }
    Ok(Point { name: MemberName::new(identifier), quality, rule: definition::compile(data_type, node)? })
}

/// `….TSLDoubleMeasurepoint` is a DOUBLE.
fn read_class(node: &Node<'_>) -> Result<DataType, Problem> {
    let class = node.text()?;
    let name = class.rsplit(['.', '$']).next().unwrap_or(class);
    name.strip_prefix("TSL")
        .and_then(|name| name.strip_suffix("Measurepoint"))
        .and_then(DataType::named)
        .ok_or_else(|| node.problem(format!("expected a class TSL<Type>Measurepoint, got {}", quoted(class))))
}

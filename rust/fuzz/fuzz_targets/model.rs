//! Any bytes as a thing model: compiled or refused in linear time; a compiled model must judge
//! correctly.

#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pointgate_core::json::Integer;
use pointgate_core::{
    Catalog, Detail, Limits, Problem, Product, ProductSettings, Reason, Request, Scratch, ThingModel,
    UnknownPoints, Verdict, judge, render,
};
use pointgate_fuzz::{Decimal, Document, NOW_MS, Node, Shape, linear};

const MAX_POINTS: usize = 5000;
const MAX_WRAPPERS: usize = 4;
const WRAPPERS: [&str; 6] = ["data", "items", "list", "models", "records", "result"];
const MAX_IDENTIFIER: usize = 128;
/// Only the first points are checked: the others are compiled by the same code.
const JUDGED_POINTS: usize = 8;
const VALUES: [&str; 12] = [
    "0",
    "7",
    "-1.5e3",
    "1e400",
    "true",
    "null",
    r#""2024-02-29""#,
    r#""1""#,
    r#"[1,"a"]"#,
    "{}",
    r#"{"value":1,"quality":1}"#,
    r#"{"value":"x"}"#,
];

fuzz_target!(|data: &[u8]| {
    let compiled = linear(data.len(), || ThingModel::compile(data));
    let document = Document::parse(data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(data));
    match compiled {
        Err(problems) => check_problems(&problems, document.as_ref()),
        Ok(model) => {
            let model = Arc::new(model);
            let document = document.expect("a model is JSON");
            let (points, type_name) = points(&document.root, 0).expect("a model has points");
            check_identifiers(&model, points);
            check_judging(&model);
            check_bounds(&model, points, type_name);
        }
    }
});

fn check_problems(problems: &[Problem], document: Option<&Document<'_>>) {
    assert!(!problems.is_empty());
    let mut locations = BTreeSet::new();
    for problem in problems {
        let location = &problem.location;
        assert!(!problem.reason.is_empty() && !problem.reason.contains(char::is_control), "{problem:?}");
        assert!(locations.insert(location), "{location} twice");
        match document {
            None => assert!(location.starts_with("line "), "{problem:?}"),
            // A definition can be text; what a pointer names inside it is no place of this
            // document.
            Some(document) => {
                let parent = location.rsplit_once('/').map_or("", |(parent, _)| parent);
                let there = document.resolve(location).or_else(|| document.resolve(parent));
                assert!(there.is_some() || is_inside_text(document, location), "{problem:?} leads nowhere");
            }
        }
    }
}

fn is_inside_text(document: &Document<'_>, location: &str) -> bool {
    let places = location.match_indices('/').map(|(end, _)| &location[..end]);
    places.filter_map(|place| document.resolve(place)).any(|node| matches!(node.shape, Shape::Text(_)))
}

/// The points of a document that was understood, and the member that names a point's type.
fn points<'d, 'a>(node: &'d Node<'a>, depth: usize) -> Option<(&'d [(String, Node<'a>)], &'static str)> {
    for (points, type_name) in [("measurepoints", "dataType"), ("thingMeasurepointMap", "$class")] {
        if let Some(Node { shape: Shape::Object(points), .. }) = node.member(points) {
            return Some((points, type_name));
        }
    }
    // A saved reply that holds one model.
    let inside: Vec<_> = match &node.shape {
        _ if depth == MAX_WRAPPERS => Vec::new(),
        Shape::Array(items) => items.iter().collect(),
        _ => WRAPPERS.iter().filter_map(|name| node.member(name)).collect(),
    };
    inside.into_iter().find_map(|node| points(node, depth + 1))
}

fn check_identifiers(model: &ThingModel, points: &[(String, Node<'_>)]) {
    let expected: Vec<&str> = points.iter().map(|(identifier, _)| identifier.as_str()).collect();
    assert_eq!(model.identifiers().collect::<Vec<_>>(), expected);
    assert_eq!((model.len(), model.is_empty()), (expected.len(), expected.is_empty()));
    assert!((1..=MAX_POINTS).contains(&model.len()));
    assert!(expected.iter().all(|identifier| (1..=MAX_IDENTIFIER).contains(&identifier.len())));
}

fn check_judging(model: &Arc<ThingModel>) {
    let identifiers: Vec<String> = model.identifiers().take(JUDGED_POINTS).map(str::to_owned).collect();
    let allows_more = model.allows_additional_points();
    let mut scratch = Scratch::default();
    for numbers_as_strings in [false, true] {
        let settings = ProductSettings { numbers_as_strings, ..ProductSettings::default() };
        let devices = Arc::new(["device1"].into_iter().collect());
        let product = Product::new(Arc::clone(model), Arc::clone(&devices), settings.clone());
        let strict = ProductSettings { unknown_points: Some(UnknownPoints::Reject), ..settings };
        let strict = Product::new(Arc::clone(model), devices, strict);
        let catalog: Catalog =
            [("pk".to_owned(), product), ("strict".to_owned(), strict)].into_iter().collect();
        for identifier in &identifiers {
            for value in VALUES {
                let verdict = judge_point(&catalog, "pk", identifier, value, &mut scratch);
                match verdict.fault {
                    None => assert_eq!(verdict.points, 1),
                    Some(fault) => assert_eq!(fault.identifier.as_ref(), Some(identifier), "{fault:?}"),
                }
            }
        }
        let unknown =
            identifiers.first().map_or("temp".to_owned(), |identifier| format!("{identifier}\u{1}"));
        let reason = |product| {
            let verdict = judge_point(&catalog, product, &unknown, "1", &mut Scratch::default());
            verdict.fault.map(|fault| fault.reason)
        };
        if !model.identifiers().any(|identifier| identifier == unknown) {
            assert_eq!(reason("pk"), (!allows_more).then_some(Reason::UnknownPoint));
            assert_eq!(reason("strict"), Some(Reason::UnknownPoint));
        }
    }
}

/// A bound of a number is within the bounds unless it is exclusive, and so is the whole number next
/// to it.
fn check_bounds(model: &Arc<ThingModel>, points: &[(String, Node<'_>)], type_name: &str) {
    let devices = Arc::new(["device1"].into_iter().collect());
    let product = Product::new(Arc::clone(model), devices, ProductSettings::default());
    let catalog: Catalog = [("pk".to_owned(), product)].into_iter().collect();
    let mut scratch = Scratch::default();
    for (identifier, point) in points.iter().take(JUDGED_POINTS) {
        let Some(Node { shape: Shape::Text(data_type), .. }) = point.member(type_name) else {
            continue;
        };
        // Constraints can be there, too.
        if point.member("dataDefinition").is_some() {
            continue;
        }
        let data_type = data_type.to_ascii_uppercase();
        let is = |name: &str| data_type == name || data_type.ends_with(&format!("TSL{name}MEASUREPOINT"));
        let mut reason = |value: &str| {
            judge_point(&catalog, "pk", identifier, value, &mut scratch).fault.map(|fault| fault.reason)
        };
        for (name, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
            let Some(Node { raw: bound, shape: Shape::Number }) = point.member(name) else {
                continue;
            };
            let exclusive = point.member(exclusive).is_some_and(|node| node.raw == "true");
            let expected = if is("INT") {
                match Decimal::new(bound).to_integer() {
                    Integer::Fraction => Some(Reason::Type),
                    Integer::Value(value) if !exclusive && i32::try_from(value).is_ok() => None,
                    _ => Some(Reason::Range),
                }
            } else if is("DOUBLE") || is("FLOAT") {
                let finite = match bound.parse::<f64>() {
                    Ok(value) if is("DOUBLE") => value.is_finite(),
                    _ => bound.parse::<f32>().is_ok_and(f32::is_finite),
                };
                (exclusive || !finite).then_some(Reason::Range)
            } else {
                continue;
            };
            assert_eq!(reason(bound), expected, "{identifier}: {name} {bound}");
            if let (true, Some(Reason::Type), Some(above)) = (is("INT"), expected, Decimal::new(bound).ceil())
            {
                // A fraction: the whole numbers on both sides of it fall on both sides of the
                // bound.
                let Some(below) = above.checked_sub(1) else { continue };
                let (inside, outside) = if name == "minimum" { (above, below) } else { (below, above) };
                assert_eq!(reason(&inside.to_string()), None, "{identifier}: {name} {bound}");
                assert_eq!(reason(&outside.to_string()), Some(Reason::Range), "{identifier}: {name} {bound}");
            }
        }
    }
}

fn judge_point(
    catalog: &Catalog,
    product_key: &str,
    identifier: &str,
    value: &str,
    scratch: &mut Scratch,
) -> Verdict {
    let name = serde_json::to_string(identifier).expect("a name");
    let payload = format!(
        r#"{{"version":"1.0","method":"integration.measurepoint.post","params":[{{"deviceKey":"device1","measurepoints":{{{name}:{value}}}}}]}}"#
    );
    let topic = format!("sys/{product_key}/integration/measurepoint/post");
    let request = Request::new(&topic, payload.as_bytes(), NOW_MS);
    let verdict = judge(catalog, &Limits::default(), &request, scratch);
    let mut reply = Vec::new();
    render(&verdict, payload.as_bytes(), Detail::Full, &mut reply);
    assert!(reply.len() <= 1024, "{} bytes", reply.len());
    serde_json::from_slice::<serde_json::Value>(&reply).expect("a reply is JSON");
    verdict
}

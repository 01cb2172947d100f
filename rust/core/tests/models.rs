//! Model documents that are refused, with the place and the reason (contract 6.1, 6.2), and those at the limits.

#![allow(clippy::expect_used, reason = "tests")]

use pointgate_core::ThingModel;

fn problems(document: &str) -> Vec<String> {
    let compiled = ThingModel::compile(document.as_bytes());
    compiled.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// One point `p` in the model service's shape.
fn point(members: &str) -> String {
    format!(r#"{{"measurepoints":{{"p":{{{members}}}}}}}"#)
}

/// One point `p` in the console's shape.
fn exported(members: &str) -> String {
    format!(r#"{{"thingMeasurepointMap":{{"p":{{{members}}}}}}}"#)
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    for (members, expected) in [
        ("", "/measurepoints/p/dataType: expected a member"),
        (r#""dataType":5"#, "/measurepoints/p/dataType: expected string, got number"),
        (r#""dataType":"LONG""#, "/measurepoints/p/dataType: expected one of INT"),
        (r#""dataType":"INT","identifier":"q""#, r#"/measurepoints/p/identifier: expected "p", got "q""#),
        (r#""dataType":"INT","minimum":"0""#, "/measurepoints/p/minimum: expected number, got string"),
        (r#""dataType":"BOOL","minimum":"x""#, "/measurepoints/p/minimum: expected number, got string"),
        (r#""dataType":"INT","minimum":5,"maximum":4"#, "/measurepoints/p/minimum: expected bounds"),
        (r#""dataType":"INT","minimum":0.5,"maximum":0.9"#, "/measurepoints/p/minimum: expected bounds"),
        (
            r#""dataType":"DOUBLE","minimum":1,"maximum":1,"exclusiveMinimum":true"#,
            "/measurepoints/p/minimum",
        ),
        (r#""dataType":"FLOAT","minimum":1e39"#, "/measurepoints/p/minimum: expected bounds"),
        (
            r#""dataType":"INT","exclusiveMinimum":3"#,
            "/measurepoints/p/exclusiveMinimum: expected true or false",
        ),
        (
            r#""dataType":"STRING","hasQuality":true"#,
            "/measurepoints/p/hasQuality: expected quality only for",
        ),
        (
            r#""dataType":"INT","dataDefinition":7"#,
            "/measurepoints/p/dataDefinition: expected object, got number",
        ),
        (
            r#""dataType":"STRING","dataDefinition":"{" "#,
            "/measurepoints/p/dataDefinition: expected JSON text",
        ),
        (
            r#""dataType":"STRING","dataDefinition":{"maxLength":-1}"#,
            "/measurepoints/p/dataDefinition/maxLength",
        ),
        (r#""dataType":"ENUM""#, "/measurepoints/p/dataDefinition: expected enumType and enumDesc"),
        (
            r#""dataType":"ENUM","dataDefinition":{"enumType":"INT","enumDesc":{}}"#,
            "/measurepoints/p/dataDefinition/enumDesc: expected at least one key",
        ),
        (
            r#""dataType":"ENUM","dataDefinition":{"enumType":"INT","enumDesc":{"1.0":{}}}"#,
            "/measurepoints/p/dataDefinition/enumDesc/1.0: expected a whole number as key",
        ),
        (
            r#""dataType":"ENUM","dataDefinition":{"enumType":"DATE","enumDesc":{"a":1}}"#,
            "/measurepoints/p/dataDefinition/enumType: expected INT or STRING",
        ),
        (
            r#""dataType":"ARRAY","dataDefinition":{"itemType":"BOOL"}"#,
            "/measurepoints/p/dataDefinition/itemType: expected INT, FLOAT, DOUBLE or STRING",
        ),
        (
            r#""dataType":"STRUCT","dataDefinition":{"items":[{"identifier":"a","dataType":"STRUCT"}]}"#,
            "/measurepoints/p/dataDefinition/items/0/dataType: expected no struct inside a struct",
        ),
        (
            r#""dataType":"STRUCT","dataDefinition":{"items":[{"identifier":"a","dataType":"INT"},{"identifier":"a","dataType":"INT"}]}"#,
            "/measurepoints/p/dataDefinition/items/1/identifier: expected the name once",
        ),
    ] {
        let found = problems(&point(members));
        assert_eq!(found.len(), 1, "{members}");
        assert!(found.iter().all(|problem| problem.starts_with(expected)), "{members}: {found:?}");
    }
    for (members, expected) in [
        (r#""dataType":"INT""#, "/thingMeasurepointMap/p/$class: expected a member"),
        (
            r#""$class":"x.TSLLongMeasurepoint""#,
            "/thingMeasurepointMap/p/$class: expected a class TSL<Type>Measurepoint",
        ),
        (
            r#""$class":"x.TSLIntAttribute""#,
            "/thingMeasurepointMap/p/$class: expected a class TSL<Type>Measurepoint",
        ),
        (
            r#""$class":"x.TSLEnumMeasurepoint","specsMap":{"1":""}"#,
            "/thingMeasurepointMap/p/valueType: expected a member",
        ),
    ] {
        let found = problems(&exported(members));
        assert!(found.len() == 1 && found.iter().all(|p| p.starts_with(expected)), "{members}: {found:?}");
    }
}

#[test]
fn documents_of_another_shape_say_what_is_missing() {
    assert_eq!(
        problems("[1,"),
        ["line 1: byte 3: expected a JSON value"].map(|p| p.replace("a JSON value", "more JSON"))
    );
    assert_eq!(problems("[]"), ["expected object, got array"]);
    assert_eq!(problems("{}"), ["expected measurepoints or thingMeasurepointMap, got neither"]);
    let wrapped = problems(r#"{"code":0,"data":{"measurepoints":{}}}"#);
    assert!(wrapped.iter().all(|problem| problem.ends_with("keep its data alone")), "{wrapped:?}");
    let both = problems(r#"{"measurepoints":{},"thingMeasurepointMap":{}}"#);
    assert_eq!(both, ["expected measurepoints or thingMeasurepointMap, got both"]);
    let twice = problems(r#"{"measurepoints":{"p":{"dataType":"INT"},"p":{"dataType":"INT"}}}"#);
    assert_eq!(twice, ["/measurepoints/p: expected the name once, got it again"]);
}

#[test]
fn every_mistake_of_a_document_is_reported() {
    let document =
        r#"{"measurepoints":{"a":{},"b":{"dataType":"INT"},"c":{"dataType":"X"},"d":{"dataType":1}}}"#;
    assert_eq!(problems(document).len(), 3);
}

#[test]
fn limits_are_met_exactly() {
    let points = |count: usize| {
        let points: Vec<_> = (0..count).map(|n| format!(r#""p{n}":{{"dataType":"int"}}"#)).collect();
        ThingModel::compile(format!("\u{feff}{{\"measurepoints\":{{{}}}}}", points.join(",")).as_bytes())
    };
    assert_eq!(points(5000).expect("5,000 points are allowed").len(), 5000);
    assert!(points(5001).is_err());
    let named = |identifier: &str| {
        ThingModel::compile(
            format!(r#"{{"measurepoints":{{"{identifier}":{{"dataType":"INT"}}}}}}"#).as_bytes(),
        )
    };
    assert!(named(&"é".repeat(64)).is_ok());
    for identifier in ["", &"x".repeat(129), r"a\u0000"] {
        assert!(named(identifier).is_err(), "{identifier}");
    }
}

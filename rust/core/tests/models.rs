//! Model documents that are refused, with the place and the reason (contract 6.1, 6.2), and those
//! at the limits.

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
        (r#""dataType":"INT","minimum":"x""#, "/measurepoints/p/minimum: expected number, got string \"x\""),
        (r#""dataType":"INT","minimum":"""#, "/measurepoints/p/minimum: expected number, got string"),
        (r#""dataType":"DOUBLE","maximum":" 1""#, "/measurepoints/p/maximum: expected number, got string"),
        (r#""dataType":"INT","minimum":true"#, "/measurepoints/p/minimum: expected number, got boolean"),
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
            "/thingMeasurepointMap/p/$class: expected a class TSL<Type>Measurepoint or TSL<Type>",
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
    assert_eq!(problems("[1,"), ["line 1, column 4: expected more JSON"]);
    assert_eq!(problems("\u{feff}{\n\"ä\" 1}"), ["line 2, column 5: expected ':'"]);
    assert_eq!(problems("[]"), ["expected object, got array"]);
    assert_eq!(problems("{}"), ["expected measurepoints or thingMeasurepointMap, got neither"]);
    let both = problems(r#"{"measurepoints":{},"thingMeasurepointMap":{}}"#);
    assert_eq!(both, ["expected measurepoints or thingMeasurepointMap, got both"]);
    let twice = problems(r#"{"measurepoints":{"p":{"dataType":"INT"},"p":{"dataType":"INT"}}}"#);
    assert_eq!(twice, ["/measurepoints/p: expected the name once, got it again"]);
}

#[test]
fn a_model_without_points_is_refused() {
    let expected = |pointer: &str| vec![format!("{pointer}: expected 1 to 5000 points, got 0")];
    assert_eq!(problems(r#"{"measurepoints":{}}"#), expected("/measurepoints"));
    let export = r#"{"thingMeasurepointMap":{},"allowAdditionalMeasurepoint":true}"#;
    assert_eq!(problems(export), expected("/thingMeasurepointMap"));
    assert_eq!(problems(r#"{"code":0,"data":{"measurepoints":{}}}"#), expected("/data/measurepoints"));
}

const POINT: &str = r#"{"measurepoints":{"p":{"dataType":"INT"}}}"#;

#[test]
fn a_saved_reply_is_a_model_when_it_holds_one() {
    for reply in [
        format!(r#"{{"code":0,"msg":"OK","data":{POINT}}}"#),
        format!(r#"{{"code":0,"data":[{POINT}]}}"#),
        format!(r#"{{"code":0,"data":{{"items":[{POINT}],"total":1}}}}"#),
        format!(r#"{{"result":{{"list":[null,{POINT}]}}}}"#),
        format!("[{POINT}]"),
        r#"[{"thingMeasurepointMap":{"p":{"$class":"TSLInt"}}}]"#.to_owned(),
    ] {
        let model = ThingModel::compile(reply.as_bytes());
        assert_eq!(model.expect("a model").identifiers().collect::<Vec<_>>(), ["p"], "{reply}");
    }
}

#[test]
fn a_saved_reply_of_several_models_or_none_says_what_to_do() {
    let two = r#"{"code":0,"data":[{"modelId":"a","measurepoints":{}},{"thingModelId":"b","thingMeasurepointMap":{}}]}"#;
    let expected =
        "expected one model, got 2: /data/0 (a), /data/1 (b); cut one out, such as with jq '.data[0]'";
    assert_eq!(problems(two), [expected]);
    let many = format!("[{}]", [POINT; 7].join(","));
    let expected = "expected one model, got 7: /0, /1, /2, /3, /4, …; cut one out, such as with jq '.[0]'";
    assert_eq!(problems(&many), [expected]);
    let refused = problems(r#"{"code":99404,"msg":"no such model","data":null}"#);
    let hint = "; this is a reply of the model service without a model: code 99404, \"no such model\"";
    assert_eq!(refused, [format!("expected measurepoints or thingMeasurepointMap, got neither{hint}")]);
    // The pointers of a wrapped model are those of the whole document.
    let wrapped = problems(r#"{"data":[{"measurepoints":{"p":{"dataType":"LONG"}}}]}"#);
    assert!(
        wrapped.iter().all(|p| p.starts_with("/data/0/measurepoints/p/dataType: expected one of")),
        "{wrapped:?}"
    );
    // A request is no model, although its entries have measurepoints.
    assert_eq!(
        problems(r#"{"params":[{"deviceKey":"a","measurepoints":{"p":1}}]}"#),
        ["expected measurepoints or thingMeasurepointMap, got neither"]
    );
}

#[test]
fn a_constraint_that_means_nothing_for_its_type_is_refused_by_name() {
    for (data_type, definition, constraint, name) in [
        ("BOOL", "{}", r#""minimum":0"#, "minimum"),
        ("STRING", "{}", r#""maximum":"9""#, "maximum"),
        ("FILE", "{}", r#""exclusiveMinimum":true"#, "exclusiveMinimum"),
        ("STRING", "{}", r#""maxSize":3"#, "maxSize"),
        ("INT", "{}", r#""maxLength":3"#, "maxLength"),
        ("DATE", "{}", r#""maxLength":10"#, "maxLength"),
        ("TIMESTAMP", "{}", r#""maxLength":13"#, "maxLength"),
        ("ENUM", r#"{"enumType":"INT","enumDesc":{"1":""}}"#, r#""maximum":1"#, "maximum"),
        ("STRUCT", r#"{"items":[]}"#, r#""maxSize":1"#, "maxSize"),
        ("ARRAY", r#"{"itemType":"INT"}"#, r#""maxLength":3"#, "maxLength"),
        ("ARRAY", r#"{"itemType":"STRING"}"#, r#""minimum":3"#, "minimum"),
        ("DOUBLE", "{}", r#""allowAdditionalItem":true"#, "allowAdditionalItem"),
    ] {
        let document =
            point(&format!(r#""dataType":"{data_type}","dataDefinition":{definition},{constraint}"#));
        let expected = format!(
            "/measurepoints/p/{name}: expected no {name} beside {data_type}, for which it means nothing"
        );
        assert_eq!(problems(&document), [expected]);
    }
    for (members, place) in [
        (r#""$class":"TSLText","minimum":0"#, "minimum"),
        (r#""$class":"TSLArray","innerType":{"$class":"TSLInt"},"maximum":0"#, "maximum"),
        (r#""$class":"TSLArray","innerType":{"$class":"TSLInt","maxLength":0}"#, "innerType/maxLength"),
        (r#""$class":"TSLStruct","struct":{"a":{"$class":"TSLBool","minimum":0}}"#, "struct/a/minimum"),
    ] {
        let found = problems(&exported(members));
        let expected = format!("/thingMeasurepointMap/p/{place}: expected no ");
        assert!(found.len() == 1 && found.iter().all(|p| p.starts_with(&expected)), "{members}: {found:?}");
    }
    // null and false constrain nothing.
    let silent = r#""dataType":"BOOL","minimum":null,"maxLength":null,"exclusiveMaximum":false"#;
    assert_eq!(problems(&point(silent)), Vec::<String>::new());
}

#[test]
fn a_constraint_at_two_places_is_refused() {
    for members in [
        r#""dataType":"INT","minimum":0,"dataDefinition":{"minimum":0}"#,
        r#""dataType":"STRING","maxLength":8,"dataDefinition":"{\"maxLength\":9}""#,
        r#""dataType":"ARRAY","maxSize":8,"dataDefinition":{"itemType":"INT","maxSize":8}"#,
    ] {
        let found = problems(&point(members));
        let twice = |p: &String| p.ends_with("expected it once, got it here and in dataDefinition");
        assert!(found.len() == 1 && found.iter().all(twice), "{found:?}");
    }
    let array = r#""$class":"TSLArray","maxSize":2,"innerType":{"$class":"TSLInt","maxSize":2}"#;
    let expected = "/thingMeasurepointMap/p/maxSize: expected it once, got it here and in innerType";
    assert_eq!(problems(&exported(array)), [expected]);
}

#[test]
fn bounds_that_no_date_or_time_can_meet_are_refused() {
    for members in [
        r#""dataType":"DATE","minimum":"2020-01-02","maximum":"2020-01-01""#,
        r#""dataType":"DATE","minimum":"2020-01-01","maximum":"2020-01-01","exclusiveMaximum":true"#,
        r#""dataType":"TIMESTAMP","minimum":"253402300800000""#,
        r#""dataType":"TIMESTAMP","minimum":-5,"maximum":-1"#,
    ] {
        let found = problems(&point(members));
        let expected = "/measurepoints/p/minimum: expected bounds that some value can meet, got";
        assert!(found.len() == 1 && found.iter().all(|p| p.starts_with(expected)), "{found:?}");
    }
    for bound in [r#""2020-02-30""#, r#""2020-01-01T00:00:00Z""#, r#""soon""#, "true"] {
        let found = problems(&point(&format!(r#""dataType":"DATE","minimum":{bound}"#)));
        assert!(found.len() == 1 && found.iter().all(|p| p.contains("/minimum: expected ")), "{found:?}");
    }
}

#[test]
fn what_real_models_carry_and_nobody_checks_is_a_warning() {
    let warnings = |document: &str| -> Vec<String> {
        let model = ThingModel::compile(document.as_bytes()).expect("a model");
        model.warnings().iter().map(ToString::to_string).collect()
    };
    for (members, expected) in [
        (
            r#""$class":"TSLText","hasQuality":true"#,
            "/hasQuality: hasQuality is ignored: STRING has no quality",
        ),
        (
            r#""$class":"TSLStruct","struct":{},"hasQuality":true"#,
            "/hasQuality: hasQuality is ignored: STRUCT",
        ),
        (
            r#""$class":"TSLStruct","struct":{"a":{"$class":"TSLInt","hasQuality":true}}"#,
            "/struct/a/hasQuality: hasQuality is ignored: nothing inside a STRUCT has a quality",
        ),
        (
            r#""$class":"TSLArray","innerType":{"$class":"TSLInt","hasQuality":true}"#,
            "/innerType/hasQuality: hasQuality is ignored: nothing inside an ARRAY has a quality",
        ),
        (r#""$class":"TSLInt","required":true"#, "/required: required is not checked"),
        (
            r#""$class":"TSLInt","exclusiveMinimum":true"#,
            "/exclusiveMinimum: exclusiveMinimum without minimum",
        ),
        (r#""$class":"TSLText","minLength":1"#, "/minLength: minLength is not checked"),
        (r#""$class":"TSLInt","step":5"#, "/step: step is not checked"),
        (
            r#""$class":"TSLInt","maxmium":5"#,
            "/maxmium: maxmium is not checked: values against it are accepted; did you mean maximum?",
        ),
        (r#""$class":"TSLInt","Minimum":5"#, "/Minimum: Minimum is not checked"),
        (r#""$class":"TSLInt","max":5"#, "/max: max is not checked"),
        (
            r#""$class":"TSLText","dataDefinition":{"maxLenght":1}"#,
            "/dataDefinition/maxLenght: maxLenght is not checked",
        ),
        (
            r#""$class":"TSLStruct","struct":{"a":{"$class":"TSLInt","maximun":1}}"#,
            "/struct/a/maximun: maximun is not checked",
        ),
        (
            r#""$class":"TSLArray","innerType":{"$class":"TSLText","maxLenght":3}"#,
            "/innerType/maxLenght: maxLenght is not checked",
        ),
        (r#""$class":"TSLText","dataDefinition":{"pattern":"a"}"#, "/dataDefinition/pattern: pattern is not"),
    ] {
        let found = warnings(&exported(members));
        let expected = format!("/thingMeasurepointMap/p{expected}");
        assert!(found.len() == 1 && found.iter().all(|w| w.starts_with(&expected)), "{members}: {found:?}");
    }
    assert_eq!(
        warnings(&exported(r#""$class":"TSLInt","minimum":"-2147483648","maximum":2147483647"#)),
        [""; 0]
    );
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

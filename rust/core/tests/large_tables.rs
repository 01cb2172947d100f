//! Devices of a large table are looked up while the next entries are read. No verdict depends on it:
//! the same catalog with a small table gives the same (contract 3.2, 3.4).

use std::sync::Arc;

use pointgate_core::{
    Catalog, DeviceTable, Limits, Mode, Points, Product, ProductSettings, Request, Scratch, ThingModel,
    Verdict, collect, judge, tolerate,
};
use proptest::prelude::*;

const TOPIC: &str = "sys/p/integration/measurepoint/post";

/// Far more keys than a table has whose devices are looked up at once.
const MANY: usize = 60_000;

fn catalog(padding: usize, default_device: Option<&str>) -> Catalog {
    catalog_in(Mode::Enforce, padding, default_device)
}

fn catalog_in(mode: Mode, padding: usize, default_device: Option<&str>) -> Catalog {
    let model = br#"{"measurepoints":{"a":{"dataType":"INT"}}}"#;
    let model = ThingModel::compile(model).unwrap_or_else(|problems| panic!("{problems:?}"));
    let padding = (0..padding).map(|number| format!("padding-{number}"));
    let devices: DeviceTable = (0..8).map(|number| format!("d{number}")).chain(padding).collect();
    let settings = ProductSettings {
        mode,
        default_device: default_device.map(str::to_owned),
        ..ProductSettings::default()
    };
    [("p".to_owned(), Product::new(Arc::new(model), devices, settings))].into_iter().collect()
}

fn entry() -> impl Strategy<Value = String> {
    let known = (0..8).prop_map(|number| format!(r#""deviceKey":"d{number}""#));
    let key = prop_oneof![
        20 => known,
        1 => Just(r#""deviceKey":"unknown""#.to_owned()),
        1 => Just(r#""deviceKey":"d9""#.to_owned()),
        1 => Just(r#""deviceKey":"\u0064\u0031""#.to_owned()),
        1 => Just(r#""deviceKey":"\u0064\u0039""#.to_owned()),
        1 => Just(r#""deviceKey":7"#.to_owned()),
        1 => Just(r#""deviceKey":null"#.to_owned()),
        1 => Just(r#""other":1"#.to_owned()),
        1 => Just(r#""deviceKey":"d9","deviceKey":"d1""#.to_owned()),
    ];
    let points = prop_oneof![
        20 => Just(r#""measurepoints":{"a":1}"#),
        1 => Just(r#""measurepoints":{"a":"x"}"#),
        1 => Just(r#""measurepoints":{"b":1}"#),
        1 => Just(r#""measurepoints":7"#),
        1 => Just(r#""other":1"#),
    ];
    let time = prop_oneof![20 => Just(r#""time":1700000000000"#), 1 => Just(r#""time":"x""#)];
    let members = (key, points, time, any::<bool>()).prop_map(|(key, points, time, key_first)| {
        if key_first { format!("{{{key},{points},{time}}}") } else { format!("{{{time},{points},{key}}}") }
    });
    prop_oneof![40 => members, 1 => Just("7".to_owned()), 1 => Just(r#"{"deviceKey":"d1",}"#.to_owned())]
}

fn payload() -> impl Strategy<Value = String> {
    let params = prop_oneof![
        9 => prop::collection::vec(entry(), 0..40).prop_map(|entries| format!("[{}]", entries.join(","))),
        1 => entry(),
    ];
    params.prop_map(|params| {
        format!(r#"{{"id":"1","version":"1.0","params":{params},"method":"integration.measurepoint.post"}}"#)
    })
}

fn summary(verdict: &Verdict) -> String {
    format!("{:?} {} {} {:?}", verdict.fault, verdict.points, verdict.null_points, verdict.id)
}

/// The answers to payloads, and the points that are stored (contract 11).
fn answers(catalog: &Catalog, payloads: &[String]) -> Vec<String> {
    let (limits, mut scratch, mut points) = (Limits::default(), Scratch::default(), Points::default());
    let mut summaries: Vec<_> = payloads
        .iter()
        .map(|payload| {
            let request = Request::new(TOPIC, payload.as_bytes(), 1_700_000_000_001);
            let verdict = collect(catalog, &limits, &request, &mut scratch, &mut points);
            let fault = verdict.fault.as_deref();
            let answer = fault
                .and_then(|fault| tolerate(catalog, &limits, &request, fault, &mut scratch, &mut points));
            answer.map_or(summary(&verdict), |(answer, skipped)| format!("{} {skipped}", summary(&answer)))
        })
        .collect();
    summaries.push(format!("{:?}", points.into_columns().collect::<Vec<_>>()));
    summaries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn answers_of_modes_are_those_of_a_small_table(
        payloads in prop::collection::vec(payload(), 1..4), is_lenient in any::<bool>()
    ) {
        thread_local! {
            static CATALOGS: [(Catalog, Catalog); 2] = [Mode::Shadow, Mode::Lenient]
                .map(|mode| (catalog_in(mode, 0, None), catalog_in(mode, MANY, None)));
        }
        CATALOGS.with(|catalogs| {
            let (small, large) = &catalogs[usize::from(is_lenient)];
            prop_assert_eq!(answers(small, &payloads), answers(large, &payloads));
            Ok(())
        })?;
    }

    #[test]
    fn verdicts_and_points_are_those_of_a_small_table(
        payloads in prop::collection::vec(payload(), 1..4), has_default in any::<bool>()
    ) {
        thread_local! {
            static CATALOGS: [(Catalog, Catalog); 2] =
                [None, Some("d3")].map(|device| (catalog(0, device), catalog(MANY, device)));
        }
        CATALOGS.with(|catalogs| {
            let (small, large) = &catalogs[usize::from(has_default)];
            let limits = Limits::default();
            let (mut one, mut other) = (Scratch::default(), Scratch::default());
            let (mut of_one, mut of_other) = (Points::default(), Points::default());
            for payload in &payloads {
                let request = Request::new(TOPIC, payload.as_bytes(), 1_700_000_000_001);
                let expected = summary(&judge(small, &limits, &request, &mut one));
                prop_assert_eq!(&expected, &summary(&judge(large, &limits, &request, &mut other)), "{}", payload);
                let verdict = collect(large, &limits, &request, &mut other, &mut of_other);
                prop_assert_eq!(&expected, &summary(&verdict), "{}", payload);
                collect(small, &limits, &request, &mut one, &mut of_one);
            }
            // Keys of rejected requests are not among the names of devices either.
            prop_assert_eq!(format!("{:?}", of_one.into_columns().collect::<Vec<_>>()),
                format!("{:?}", of_other.into_columns().collect::<Vec<_>>()));
            Ok(())
        })?;
    }
}

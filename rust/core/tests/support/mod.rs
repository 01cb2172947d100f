//! Shared by the tests of this crate: the test catalog, read as the service reads it, and the
//! public data.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pointgate_core::{
    Catalog, DeviceFormat, DeviceTable, Limits, Mode, Product, ProductSettings, Request, Scratch, ThingModel,
    UnknownPoints, Verdict, judge,
};
use serde::Deserialize;

pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of public test data; `tests/data/public/SOURCES.md` says where it is from.
pub(crate) fn public_data(folder: &str) -> PathBuf {
    repository().join("tests/data/public").join(folder)
}

#[derive(Deserialize)]
struct CatalogFile {
    products: BTreeMap<String, ProductTable>,
}

#[derive(Deserialize)]
struct ProductTable {
    model: String,
    devices: String,
    default_device: Option<String>,
    #[serde(default)]
    numbers_as_strings: bool,
    null_points: Option<String>,
    unknown_points: Option<String>,
    mode: Option<String>,
    time: Option<TimeTable>,
}

#[derive(Deserialize)]
struct TimeTable {
    min: Option<i64>,
    max_past: Option<toml::Value>,
    max_future: Option<toml::Value>,
}

fn milliseconds(value: &toml::Value) -> i64 {
    if let Some(milliseconds) = value.as_integer() {
        return milliseconds;
    }
    let text = value.as_str().expect("a duration is an integer or a string");
    let (count, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => panic!("unknown unit in {text}"),
    };
    count.parse::<i64>().expect("a count") * unit * 1000
}

/// The catalog of `tests/data/catalog`, with so many devices more in every table.
pub(crate) fn catalog(more_devices: usize) -> Catalog {
    let folder = repository().join("tests/data/catalog");
    let read = |name: &str| fs::read(folder.join(name)).expect("a file of the test catalog");
    let text = String::from_utf8(read("catalog.toml")).expect("UTF-8");
    let file: CatalogFile = toml::from_str(&text).expect("a catalog.toml");
    let product = |table: ProductTable| {
        let format = match table.devices.rsplit('.').next() {
            Some("csv") => DeviceFormat::Csv,
            Some("jsonl") => DeviceFormat::JsonLines,
            _ => DeviceFormat::Lines,
        };
        let time = |pick: fn(&TimeTable) -> &Option<toml::Value>| {
            table.time.as_ref().and_then(|time| pick(time).as_ref()).map(milliseconds)
        };
        let settings = ProductSettings {
            ignore_null_points: table.null_points.as_deref() == Some("ignore"),
            time_min: table.time.as_ref().and_then(|time| time.min),
            time_max_past: time(|time| &time.max_past),
            time_max_future: time(|time| &time.max_future),
            mode: table.mode.map_or(Mode::Enforce, |word| {
                Mode::ALL.into_iter().find(|mode| mode.name() == word).expect("a mode")
            }),
            default_device: table.default_device,
            numbers_as_strings: table.numbers_as_strings,
            unknown_points: table.unknown_points.map(|policy| match policy.as_str() {
                "ignore" => UnknownPoints::Ignore,
                _ => UnknownPoints::Reject,
            }),
        };
        let model = ThingModel::compile(&read(&table.model)).expect("a model");
        let devices = DeviceTable::parse(&read(&table.devices), format).expect("devices");
        let more = (0..more_devices).map(|number| format!("one more {number}"));
        let devices: DeviceTable = devices.keys().map(str::to_owned).chain(more).collect();
        Product::new(Arc::new(model), Arc::new(devices), settings)
    };
    file.products.into_iter().map(|(key, table)| (key, product(table))).collect()
}

/// A catalog of one product `pk` with one device `device1`.
pub(crate) fn one_product(model: &str, settings: ProductSettings) -> Catalog {
    let model = ThingModel::compile(model.as_bytes()).expect("a model");
    let devices: DeviceTable = ["device1"].into_iter().collect();
    [("pk".to_owned(), Product::new(Arc::new(model), Arc::new(devices), settings))].into_iter().collect()
}

/// Judges a payload of the product `pk`.
pub(crate) fn judge_pk(catalog: &Catalog, payload: &[u8], scratch: &mut Scratch) -> Verdict {
    let request = Request::new("sys/pk/integration/measurepoint/post", payload, NOW_MS);
    judge(catalog, &Limits::default(), &request, scratch)
}

/// A request with one entry of `device1` and these measurepoints.
pub(crate) fn with_points(measurepoints: &str) -> String {
    format!(
        r#"{{"id":"1","version":"1.0","method":"integration.measurepoint.post","params":[{{"deviceKey":"device1","measurepoints":{measurepoints},"time":1}}]}}"#
    )
}

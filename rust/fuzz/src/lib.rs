//! Shared by the fuzz targets: the test catalog, a second JSON reader, and a check for linear time.
//!
//! A failed check panics, which libFuzzer reports with the input. The judge is compared with
//! `serde_json` ([`Document`]), never with its own reader.

mod decimal;
mod document;
mod points;
#[path = "../../core/tests/support/mod.rs"]
mod support;
mod watch;

pub use decimal::Decimal;
pub use document::{Document, Node, Shape};
pub use points::check_rows;
pub use watch::linear;

use std::sync::LazyLock;

use pointgate_core::Catalog;

/// The time of arrival of every fuzzed request: the one of `tests/data/cases`.
pub const NOW_MS: i64 = support::NOW_MS;

/// The products of `tests/data/catalog`, by their keys.
pub static CATALOG: LazyLock<Catalog> = LazyLock::new(|| support::catalog(0));

/// The keys of [`CATALOG`] in the order of their bytes, and one that it does not have. `seed.py`
/// counts the same way.
pub static PRODUCT_KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let path = support::repository().join("tests/data/catalog/catalog.toml");
    let text = std::fs::read_to_string(path).expect("the test catalog");
    let file: toml::Table = toml::from_str(&text).expect("a catalog.toml");
    let mut keys: Vec<String> = file["products"].as_table().expect("products").keys().cloned().collect();
    keys.sort_unstable();
    keys.push("nobody".to_owned());
    keys
});

//! The catalog: an immutable snapshot of products, each with its model, devices and settings.
//!
//! A request is judged by one snapshot from beginning to end (contract 6.3); a reload makes a new one,
//! which shares what has not changed.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::devices::DeviceTable;
use crate::model::ThingModel;
use crate::rule::EARLY;

/// What a product does with points that its model lacks (contract 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPoints {
    /// 1204 `unknown_point`.
    Reject,
    /// Checked as JSON, not stored.
    Ignore,
}

/// A product's settings (contract 6.4).
#[derive(Clone, Debug, Default)]
pub struct ProductSettings {
    /// The device of entries without `deviceKey` (contract 3.4).
    pub default_device: Option<String>,
    /// Whether a string that is exactly a JSON number counts as that number (contract 5.4).
    pub numbers_as_strings: bool,
    /// Whether a point whose value is null is passed over instead of refused (contract 5.3).
    pub ignore_null_points: bool,
    /// `None` leaves it to the model's `allowAdditionalMeasurepoint`.
    pub unknown_points: Option<UnknownPoints>,
    /// The earliest time, UTC milliseconds (contract 3.5).
    pub time_min: Option<i64>,
    /// How many milliseconds before now a time may be (contract 3.5).
    pub time_max_past: Option<i64>,
    /// How many milliseconds after now a time may be.
    pub time_max_future: Option<i64>,
}

/// A product: what its requests are judged by.
#[derive(Clone, Debug)]
pub struct Product {
    pub(crate) model: Arc<ThingModel>,
    pub(crate) devices: Arc<DeviceTable>,
    pub(crate) settings: ProductSettings,
    pub(crate) ignore_unknown_points: bool,
    /// From this time on an entry's time needs no further look.
    pub(crate) usual_times_from: i64,
}

impl Product {
    /// Puts a product together; models and device tables may be shared.
    pub fn new(model: Arc<ThingModel>, devices: Arc<DeviceTable>, settings: ProductSettings) -> Self {
        let ignore_unknown_points = match settings.unknown_points {
            Some(policy) => policy == UnknownPoints::Ignore,
            None => model.allows_additional_points(),
        };
        let usual_times_from = match &settings {
            ProductSettings { time_max_past: None, time_max_future: None, time_min, .. } => {
                time_min.unwrap_or(0).max(EARLY)
            }
            _ => i64::MAX,
        };
        Self { model, devices, settings, ignore_unknown_points, usual_times_from }
    }
}

/// An immutable snapshot: product key to product.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    products: HashMap<String, Product, RandomState>,
}

impl Catalog {
    /// The product of this key.
    pub fn product(&self, product_key: &str) -> Option<&Product> {
        self.products.get(product_key)
    }
}

impl FromIterator<(String, Product)> for Catalog {
    fn from_iter<I: IntoIterator<Item = (String, Product)>>(products: I) -> Self {
        Self { products: products.into_iter().collect() }
    }
}

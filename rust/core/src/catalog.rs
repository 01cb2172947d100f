//! The catalog: an immutable snapshot of products, each with its model, devices and settings.
//!
//! A request is judged by one snapshot from beginning to end (contract 6.3). A reload creates a new
//! snapshot, which can share unchanged models and device tables.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::devices::Devices;
use crate::model::{Section, ThingModel};
use crate::rule::EARLY;

/// What a product does with points that its model lacks (contract 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownPoints {
    /// Refuse the request: 1204 `unknown_point`.
    Reject,
    /// Check the point as JSON and do not store it.
    Ignore,
}

/// What a product replies to requests that its model or its devices reject (contract 11).
///
/// The verdict ([`judge`](crate::judge)) is the same in each mode: [`tolerate`](crate::tolerate) makes
/// the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The verdict.
    #[default]
    Enforce,
    /// Faulty points are skipped: they are not stored, and do not reject the request.
    Lenient,
    /// Faulty points and faulty entries are skipped.
    Shadow,
}

impl Mode {
    /// Every mode, the strictest first.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Lenient, Self::Shadow];

    /// The name in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Lenient => "lenient",
            Self::Shadow => "shadow",
        }
    }
}

/// A product's settings (contract 6.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new setting must not compile")]
pub struct ProductSettings {
    /// The device of entries without `deviceKey` (contract 3.4).
    pub default_device: Option<String>,
    /// Whether a string that is exactly a JSON number counts as that number (contract 5.4).
    pub numbers_as_strings: bool,
    /// Whether a point whose value is null is ignored instead of refused (contract 5.3).
    pub ignore_null_points: bool,
    /// For points that the model lacks; `None` leaves it to the model's
    /// `allowAdditionalMeasurepoint`.
    pub unknown_points: Option<UnknownPoints>,
    /// The earliest time, UTC milliseconds (contract 3.5).
    pub time_min: Option<i64>,
    /// How many milliseconds before now a time may be (contract 3.5).
    pub time_max_past: Option<i64>,
    /// How many milliseconds after now a time may be.
    pub time_max_future: Option<i64>,
    /// What is replied to requests that are rejected (contract 11).
    pub mode: Mode,
}

impl ProductSettings {
    /// The default: every field is off or absent.
    pub(crate) const NONE: Self = Self {
        default_device: None,
        numbers_as_strings: false,
        ignore_null_points: false,
        unknown_points: None,
        time_min: None,
        time_max_past: None,
        time_max_future: None,
        mode: Mode::Enforce,
    };
}

/// A product: model, devices and settings.
#[derive(Clone, Debug)]
pub struct Product {
    pub(crate) model: Arc<ThingModel>,
    pub(crate) devices: Devices,
    pub(crate) settings: ProductSettings,
    /// From this time on, an entry's time needs neither the window check nor the check for seconds.
    pub(crate) usual_times_from: i64,
}

impl Product {
    /// Creates a product; models and device tables can be shared with others.
    pub fn new(model: Arc<ThingModel>, devices: impl Into<Devices>, settings: ProductSettings) -> Self {
        let usual_times_from = match &settings {
            ProductSettings { time_max_past: None, time_max_future: None, time_min, .. } => {
                time_min.unwrap_or(0).max(EARLY)
            }
            _ => i64::MAX,
        };
        Self { model, devices: devices.into(), settings, usual_times_from }
    }

    /// Whether points that this section of the model lacks are ignored (contract 5.5).
    pub(crate) fn ignores_unknown_points(&self, section: &Section) -> bool {
        self.settings
            .unknown_points
            .map_or(section.allows_additional, |policy| policy == UnknownPoints::Ignore)
    }
}

/// An immutable snapshot: product key to product.
///
/// A clone shares every product with the original: keys and products are reference-counted.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    products: HashMap<Arc<str>, Arc<Product>, RandomState>,
    /// Whether a product has a time window that moves with the present.
    needs_now: bool,
    /// Whether a product is not enforced.
    is_tolerant: bool,
}

impl Catalog {
    /// The product with this key.
    pub fn product(&self, product_key: &str) -> Option<&Product> {
        self.products.get(product_key).map(AsRef::as_ref)
    }

    /// A snapshot in which these products replace those of the same keys; all others are shared.
    #[must_use]
    pub fn with_products(&self, products: impl IntoIterator<Item = (String, Arc<Product>)>) -> Self {
        let mut newer = self.clone();
        newer.products.extend(products.into_iter().map(|(key, product)| (key.into(), product)));
        newer.needs_now = newer.products.values().any(|product| {
            let settings = &product.settings;
            settings.time_max_past.is_some() || settings.time_max_future.is_some()
        });
        newer.is_tolerant = newer.products.values().any(|product| product.settings.mode != Mode::Enforce);
        newer
    }

    /// Whether [`tolerate`](crate::tolerate) can change an answer: some product is not enforced.
    #[inline]
    pub fn is_tolerant(&self) -> bool {
        self.is_tolerant
    }

    /// Whether verdicts depend on [`Request::now_ms`](crate::Request::now_ms): some product limits
    /// times relative to the present.
    pub fn needs_now(&self) -> bool {
        self.needs_now
    }
}

impl FromIterator<(String, Arc<Product>)> for Catalog {
    fn from_iter<I: IntoIterator<Item = (String, Arc<Product>)>>(products: I) -> Self {
        Self::default().with_products(products)
    }
}

impl FromIterator<(String, Product)> for Catalog {
    fn from_iter<I: IntoIterator<Item = (String, Product)>>(products: I) -> Self {
        products.into_iter().map(|(key, product)| (key, Arc::new(product))).collect()
    }
}

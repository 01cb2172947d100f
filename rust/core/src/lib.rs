//! Judges batches of `IoT` measurepoints: the contract in code.
//!
//! A request is read once, from its first byte to its last. There is no tree: the reader knows the
//! product's thing model and asks the text for what the model wants next, so a point costs a
//! comparison of its name, a look at its value and two comparisons with its bounds. What the model
//! does not ask for is passed over, but checked as strictly.
//!
//! # The way of a request
//!
//! [`judge`] takes a [`Request`] (topic, payload, time of arrival), a [`Catalog`] (an immutable snapshot of
//! products: [`ThingModel`], [`DeviceTable`], settings) and a [`Scratch`] to work in. It returns a
//! [`Verdict`]: accepted, or the first [`Fault`] by the order of contract 3. [`render`] turns that into reply bytes.
//! [`collect`] does the same and adds what was accepted to [`Points`], as columns; it is the same pass, compiled
//! for something else to be done with each value.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `topic`, `limits` | what is decided before a payload is read |
//! | `json/` | the reader: cursor, strings, numbers, skipping; strict RFC 8259 with byte offsets |
//! | `request`, `entry` | envelope and entries: the single pass, and which fault comes first |
//! | `rule/` | one family of types a file: how a value is judged and what is said when it is refused |
//! | `model/`, `devices/`, `catalog` | what is judged by: documents compiled into rules and tables |
//! | `collect`, `points` | what becomes of values that were judged: nothing, or columns |
//! | `verdict`, `reply` | codes, reasons, faults; sentences and bytes |
//!
//! # Invariants
//!
//! * A verdict is a function of catalog, limits and request. Scratch, threads and order change nothing.
//! * No panic, no recursion and no allocation that a payload could steer: one pass, constant room, and
//!   time linear in the payload's bytes. Only a refusal allocates, once a request.
//! * No I/O, no clock, no logging, no Python.
//!
//! ```
//! use std::sync::Arc;
//! use pointgate_core::*;
//!
//! let model = ThingModel::compile(br#"{"measurepoints":{"temp":{"dataType":"DOUBLE"}}}"#).unwrap();
//! let devices: DeviceTable = ["device1"].into_iter().collect();
//! let product = Product::new(Arc::new(model), Arc::new(devices), ProductSettings::default());
//! let catalog: Catalog = [("pk".to_owned(), product)].into_iter().collect();
//!
//! let payload = br#"{"id":"7","version":"1.0","method":"integration.measurepoint.post",
//!     "params":[{"deviceKey":"device1","time":123456,"measurepoints":{"temp":"warm"}}]}"#;
//! let request = Request::new("sys/pk/integration/measurepoint/post", payload, 0);
//! let verdict = judge(&catalog, &Limits::default(), &request, &mut Scratch::default());
//! assert_eq!(verdict.code(), Code::ModelValidateFailed);
//!
//! let mut reply = Vec::new();
//! render(&verdict, payload, Detail::Full, &mut reply);
//! let reply = String::from_utf8(reply).unwrap();
//! assert!(reply.starts_with(r#"{"id":"7","code":1204,"message":"Model validate failed: "#));
//! assert!(reply.contains(r#"params[0].measurepoints.temp: expected DOUBLE, got string \"warm\""#));
//! ```

#![forbid(unsafe_code)]

mod catalog;
mod collect;
mod devices;
mod display;
mod entry;
mod foreign;
pub mod json;
mod limits;
mod misnamed;
mod model;
mod names;
mod points;
mod problem;
mod reply;
mod request;
mod rule;
mod scratch;
mod stamps;
mod topic;
mod verdict;

pub use catalog::{Catalog, Product, ProductSettings, UnknownPoints};
pub use devices::{DeviceFile, DeviceFormat, DeviceTable};
pub use limits::{DEFAULT_PAYLOAD_BYTES, Limits, MAX_PAYLOAD_BYTES};
pub use model::ThingModel;
pub use points::{Columns, Dictionary, Points};
pub use problem::Problem;
pub use reply::{Detail, message, render};
pub use request::{Request, Verdict, collect, judge};
pub use scratch::Scratch;
pub use topic::{is_product_key, product_key};
pub use verdict::{Code, Fault, Reason, Segment};

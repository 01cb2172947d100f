//! Judges batches of `IoT` measurepoints: the contract (`docs/contract.md`) in code.
//!
//! A request is read once, from its first byte to its last, without building a tree. The judge
//! knows the product's thing model, so it expects the names and types that come next. A point costs
//! a comparison of its name, the conversion of its value and two comparisons with its bounds. What
//! the model does not ask for is skipped, but checked as strictly.
//!
//! # Data flow
//!
//! [`judge`] takes a [`Request`] (topic, payload, time of arrival), a [`Catalog`] (an immutable
//! snapshot of products: [`ThingModel`], [`DeviceTable`], settings) and a [`Scratch`] (buffers). It
//! returns a [`Verdict`]: accepted, or the first [`Fault`] in the order of contract 3. [`render`]
//! turns a verdict into reply bytes. [`collect()`] judges in the same pass, compiled a second time,
//! and appends the accepted values to [`Points`].
//!
//! | file | content |
//! | --- | --- |
//! | `topic`, `kind` | which topics are served; kinds of message, and what differs between them |
//! | `request`, `envelope` | [`judge`] and [`collect()`]; the members around the entries |
//! | `entry/` | entries and the loop over their points |
//! | `reader`, `json/` | position and buffers; strict RFC 8259 with byte offsets |
//! | `rule/` | how a value is checked, one family of types in each file |
//! | `model/`, `devices/`, `catalog` | documents compiled into rules and tables |
//! | `burst` | requests that arrived together, and what became of them, without an object for each |
//! | `mqtt/` | MQTT's packets of requests, replies and acknowledgements |
//! | `collect`, `points` | what is done with checked values: nothing, or columns |
//! | `tolerant` | the answer of products that are not enforced: valid points beside faulty ones |
//! | `fault/`, `verdict`, `reply` | codes, reasons and faults; sentences and reply bytes |
//! | `misnamed`, `foreign` | after a refusal: what was probably meant |
//! | `interner`, `generation_set`, `predictor` | data structures of the loops |
//! | `heavy_hitters` | the most frequent keys of a stream, in bounded memory |
//!
//! # Invariants
//!
//! * A verdict is a function of catalog, limits and request. Scratch, threads and order change
//!   nothing.
//! * No panic, recursion or allocation that a payload controls: one pass, constant memory, time
//!   linear in the payload's bytes. Only a fault allocates, once for each request.
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

mod burst;
mod catalog;
mod collect;
mod devices;
mod display;
mod entry;
mod envelope;
mod fault;
mod foreign;
mod generation_set;
mod heavy_hitters;
mod interner;
pub mod json;
mod kind;
mod limits;
mod misnamed;
mod model;
pub mod mqtt;
mod order;
mod points;
mod predictor;
mod problem;
mod reader;
mod reply;
mod request;
mod rule;
mod scratch;
mod tolerant;
mod topic;
mod verdict;

pub use burst::{Arrived, Burst, Delivery, Shadowed};
pub use catalog::{Catalog, Mode, Product, ProductSettings, UnknownPoints};
pub use devices::{Change, DeviceFile, DeviceFormat, DeviceTable, Devices};
pub use fault::{Code, Fault, Reason, Segment};
pub use heavy_hitters::{HeavyHitters, Hitter};
pub use kind::MessageKind;
pub use limits::{DEFAULT_PAYLOAD_BYTES, Limits, MAX_PAYLOAD_BYTES};
pub use model::ThingModel;
pub use order::{SortColumn, unique_order};
pub use points::{Columns, Dictionary, Points};
pub use problem::Problem;
pub use reply::{Detail, message, render, render_all};
pub use request::{Request, all_faults, answered_faults, collect, judge, tolerate};
pub use scratch::Scratch;
pub use topic::{Topic, is_product_key};
pub use verdict::Verdict;

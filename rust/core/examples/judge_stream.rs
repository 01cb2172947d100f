//! Judges a dumped stream of requests several times, without Python: the program that
//! `benches/instructions.py` runs.
//!
//! ```text
//! judge_stream MODEL DEVICES STREAM PASSES
//! ```
//!
//! MODEL is a model document, DEVICES has one device key on each line, and STREAM has the payloads,
//! each behind its length in bytes (32 bits, little-endian). All files are read before the first
//! pass, and all passes share one scratch. A pass only judges; replies are not rendered. Prints the
//! number of accepted requests.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::{env, fs, io};

use pointgate_core::{
    Catalog, Code, DeviceFormat, DeviceTable, Limits, Problem, Product, ProductSettings, Request, Scratch,
    ThingModel, judge,
};

const TOPIC: &str = "sys/product/integration/measurepoint/post";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, devices, stream, passes] = arguments.as_slice() else {
        return Err("expected MODEL DEVICES STREAM PASSES".into());
    };
    let model = ThingModel::compile(&fs::read(model)?).map_err(joined)?;
    let devices = DeviceTable::parse(&fs::read(devices)?, DeviceFormat::Lines).map_err(joined)?;
    let product = Product::new(Arc::new(model), Arc::new(devices), ProductSettings::default());
    let catalog: Catalog = [("product".to_owned(), product)].into_iter().collect();
    let stream = fs::read(stream)?;
    let payloads = split(&stream).ok_or("expected payloads behind their lengths, got a part of one")?;

    let (limits, mut scratch) = (Limits::default(), Scratch::default());
    let mut accepted = 0_usize;
    for _ in 0..passes.parse::<usize>()? {
        for payload in &payloads {
            let request = Request::new(TOPIC, payload, 0);
            let verdict = judge(&catalog, &limits, &request, &mut scratch);
            accepted += usize::from(verdict.code() == Code::Ok);
        }
    }
    writeln!(io::stdout(), "{accepted}")?;
    Ok(())
}

fn split(mut stream: &[u8]) -> Option<Vec<&[u8]>> {
    let mut payloads = Vec::new();
    while !stream.is_empty() {
        let (length, rest) = stream.split_first_chunk()?;
        let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        payloads.push(payload);
        stream = rest;
    }
    Some(payloads)
}

fn joined(problems: Vec<Problem>) -> String {
    let problems: Vec<String> = problems.into_iter().map(|problem| problem.to_string()).collect();
    problems.join("; ")
}

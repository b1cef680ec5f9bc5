//! Transcoding against prost-reflect's dynamic messages and against generated prost and serde code.
//! `cargo bench -p kubridge-bridge --bench transcode` ends with a table of ratios; the bar is 5.0 and 1.0.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

use std::{cell::RefCell, collections::HashMap, hint::black_box, time::Duration, time::Instant};

use criterion::Criterion;
use kubridge_bridge::transcode::{MessageType, Tables};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::{Serialize, de::DeserializeOwned};

#[path = "transcode/generated.rs"]
mod generated;
#[path = "transcode/shapes.rs"]
mod shapes;

/// The quickest nanoseconds per call, by what was measured.
type Best = RefCell<HashMap<String, f64>>;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
        .sample_size(20)
        .configure_from_args();
    let mut compiler =
        protox::Compiler::new([concat!(env!("CARGO_MANIFEST_DIR"), "/benches/transcode")]).unwrap();
    compiler.include_imports(true).open_file("bench.proto").unwrap();
    let pool = DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap();
    let tables = Tables::compile(&pool);
    let best = Best::default();
    let mut rows = Vec::new();
    for (shape, name, wire) in shapes::all() {
        let (ours, descriptor) = (tables.message(name).unwrap(), pool.get_message_by_name(name).unwrap());
        let bench = Bench { shape, ours, descriptor, wire, best: &best };
        match name {
            "bench.v1.Machine" => bench.run::<generated::Machine>(&mut criterion),
            "bench.v1.Texts" => bench.run::<generated::Texts>(&mut criterion),
            "bench.v1.Numbers" => bench.run::<generated::Numbers>(&mut criterion),
            _ => bench.run::<generated::MachineList>(&mut criterion),
        }
        rows.push(shape);
    }
    criterion.final_summary();
    if !std::env::args().any(|argument| argument == "--test") {
        table(&rows, &best.borrow());
    }
}

struct Bench<'a> {
    shape: &'static str,
    ours: MessageType,
    descriptor: MessageDescriptor,
    wire: Vec<u8>,
    best: &'a Best,
}

impl Bench<'_> {
    fn run<M: Message + Default + PartialEq + Serialize + DeserializeOwned>(
        &self,
        criterion: &mut Criterion,
    ) {
        let mut json = Vec::new();
        self.ours.to_json(&self.wire, None, &mut json).unwrap();
        // All three do the same.
        let generated: M = serde_json::from_slice(&json).unwrap();
        assert!(generated == M::decode(&*self.wire).unwrap());
        assert_eq!(self.dynamic_from_json(&json), self.dynamic());
        assert!(generated == M::decode(&*self.ours.from_json(&json).unwrap().wire).unwrap());

        let mut out = Vec::with_capacity(json.len() + 64);
        self.measure(criterion, "wire to JSON", "kubridge", || {
            out.clear();
            self.ours.to_json(black_box(&self.wire), None, &mut out).unwrap();
            out.len()
        });
        let mut out = Vec::with_capacity(json.len() + 64);
        self.measure(criterion, "wire to JSON", "generated", || {
            out.clear();
            serde_json::to_writer(&mut out, &M::decode(black_box(&*self.wire)).unwrap()).unwrap();
            out.len()
        });
        let mut out = Vec::with_capacity(json.len() + 64);
        self.measure(criterion, "wire to JSON", "prost-reflect", || {
            out.clear();
            serde_json::to_writer(&mut out, &self.dynamic()).unwrap();
            out.len()
        });
        self.measure(criterion, "JSON to wire", "kubridge", || {
            self.ours.from_json(black_box(&json)).unwrap().wire.len()
        });
        self.measure(criterion, "JSON to wire", "generated", || {
            serde_json::from_slice::<M>(black_box(&json)).unwrap().encode_to_vec().len()
        });
        self.measure(criterion, "JSON to wire", "prost-reflect", || {
            self.dynamic_from_json(black_box(&json)).encode_to_vec().len()
        });
    }

    fn dynamic(&self) -> DynamicMessage {
        DynamicMessage::decode(self.descriptor.clone(), black_box(&*self.wire)).unwrap()
    }

    fn dynamic_from_json(&self, json: &[u8]) -> DynamicMessage {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        DynamicMessage::deserialize(self.descriptor.clone(), &mut deserializer).unwrap()
    }

    fn measure(
        &self,
        criterion: &mut Criterion,
        direction: &str,
        who: &str,
        mut call: impl FnMut() -> usize,
    ) {
        let name = format!("{direction}/{}/{who}", self.shape);
        criterion.bench_function(&name, |bencher| {
            bencher.iter_custom(|times| {
                let start = Instant::now();
                for _ in 0..times {
                    black_box(call());
                }
                let took = start.elapsed();
                let each = took.as_nanos() as f64 / times as f64;
                let mut best = self.best.borrow_mut();
                let best = best.entry(name.clone()).or_insert(each);
                *best = best.min(each);
                took
            });
        });
    }
}

fn table(shapes: &[&str], best: &HashMap<String, f64>) {
    println!("\n| direction | shape | kubridge | x prost-reflect | x generated |\n|---|---|---|---|---|");
    for direction in ["wire to JSON", "JSON to wire"] {
        for shape in shapes {
            let nanos = |who: &str| best.get(&format!("{direction}/{shape}/{who}")).copied();
            let Some(ours) = nanos("kubridge") else { continue };
            let ratio = |who: &str, bar: f64| match nanos(who).map(|theirs| theirs / ours) {
                Some(ratio) if ratio < bar => format!("{ratio:.1} BELOW {bar:.1}"),
                Some(ratio) => format!("{ratio:.1}"),
                None => "-".into(),
            };
            let (dynamic, generated) = (ratio("prost-reflect", 5.0), ratio("generated", 1.0));
            println!("| {direction} | {shape} | {:.2} us | {dynamic} | {generated} |", ours / 1000.0);
        }
    }
}

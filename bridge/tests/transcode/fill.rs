//! Random messages of any schema.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
    prost::Message as _,
};

/// SplitMix64: all that is needed, and the same on every machine.
pub(crate) struct Rng {
    state: u64,
    unknown_enums: bool,
}

impl Rng {
    pub(crate) fn new(seed: u64, unknown_enums: bool) -> Self {
        Self { state: seed, unknown_enums }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Small, at the edges, or anywhere.
    fn bits(&mut self) -> u64 {
        match self.below(4) {
            0 => self.next() % 3,
            1 => self.one_of(&[
                u64::MAX,
                i64::MIN as u64,
                i64::MAX as u64,
                u64::from(u32::MAX),
                1 << 31,
                0x7fff_ffff,
                127,
                128,
            ]),
            2 => self.next() % 100_000,
            _ => self.next(),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(5) {
            0 => self.one_of(&[
                0.0,
                -0.0,
                1.0,
                f64::MAX,
                f64::MIN_POSITIVE,
                5e-324,
                1e21,
                1e-7,
                9_007_199_254_740_993.0,
            ]),
            1 => self.one_of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
            2 => self.next() as i32 as f64,
            3 => self.next() as i32 as f64 / 1000.0,
            _ => Some(f64::from_bits(self.next())).filter(|f| f.is_finite()).unwrap_or(0.5),
        }
    }

    fn finite(&mut self) -> f64 {
        Some(self.double()).filter(|f| f.is_finite()).unwrap_or(1.5)
    }

    fn float(&mut self) -> f32 {
        match self.below(3) {
            0 => self.one_of(&[0.0, -0.0, 1.0, 3.4e38, 1e-45, f32::NAN, f32::INFINITY, 0.1, 16_777_216.0]),
            1 => self.next() as i16 as f32 / 8.0,
            _ => Some(f32::from_bits(self.next() as u32)).filter(|f| f.is_finite()).unwrap_or(0.5),
        }
    }

    fn text(&mut self) -> String {
        let parts = [
            "",
            "a",
            "plain text that is longer",
            "\"",
            "\\",
            "\n\t\u{0}",
            "<&>",
            "é",
            "\u{2028}",
            "😀",
            "key",
            "{}[],:",
        ];
        (0..self.below(5)).map(|_| self.one_of(&parts)).collect()
    }
}

pub(crate) fn message(descriptor: &MessageDescriptor, rng: &mut Rng, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if descriptor.full_name().starts_with("google.protobuf.") && well_known(&mut message, rng, depth) {
        return message;
    }
    for field in descriptor.fields() {
        let nested = matches!(field.kind(), Kind::Message(_));
        if rng.below(4) == 0 || nested && depth > 3 {
            continue;
        }
        let count = rng.below(5);
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { continue };
            let key = entry.map_entry_key_field();
            let of = entry.map_entry_value_field();
            if depth > 2 && of.kind().as_message().is_some() {
                continue;
            }
            Value::Map((0..count).map(|_| (map_key(&key, rng), value(&of, rng, depth + 1))).collect())
        } else if field.is_list() {
            Value::List((0..count).map(|_| value(&field, rng, depth + 1)).collect())
        } else {
            value(&field, rng, depth + 1)
        };
        message.set_field(&field, value);
    }
    message
}

fn map_key(field: &FieldDescriptor, rng: &mut Rng) -> MapKey {
    match field.kind() {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(rng.bits() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(rng.bits() as i64),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(rng.bits() as u32),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(rng.bits()),
        Kind::Bool => MapKey::Bool(rng.below(2) == 0),
        _ => MapKey::String(rng.text()),
    }
}

fn value(field: &FieldDescriptor, rng: &mut Rng, depth: usize) -> Value {
    match field.kind() {
        Kind::Double => Value::F64(rng.double()),
        Kind::Float => Value::F32(rng.float()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(rng.bits() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(rng.bits() as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(rng.bits() as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(rng.bits()),
        Kind::Bool => Value::Bool(rng.below(2) == 0),
        Kind::String => Value::String(rng.text()),
        Kind::Bytes => Value::Bytes((0..rng.below(9)).map(|_| rng.next() as u8).collect::<Vec<_>>().into()),
        Kind::Enum(_) if rng.unknown_enums && rng.below(4) == 0 => Value::EnumNumber(rng.bits() as i32),
        Kind::Enum(_) => Value::EnumNumber(rng.one_of(&[0, 1, 2, 70_000, -3])),
        Kind::Message(descriptor) => Value::Message(message(&descriptor, rng, depth)),
    }
}

/// False: the type's own fields may have any value.
fn well_known(message: &mut DynamicMessage, rng: &mut Rng, depth: usize) -> bool {
    let descriptor = message.descriptor();
    let mut set = |name: &str, value: Value| message.set_field_by_name(name, value);
    match descriptor.name() {
        "Timestamp" => {
            set("seconds", Value::I64((rng.next() % 315_537_897_600) as i64 - 62_135_596_800));
            set("nanos", Value::I32(rng.one_of(&[0, 1, 500_000_000, 1_000, 999_999_999])));
        }
        "Duration" => {
            let sign = rng.one_of(&[1, -1]);
            set("seconds", Value::I64((rng.next() % 315_576_000_000) as i64 * sign));
            set("nanos", Value::I32(rng.one_of(&[0, 1, 500_000_000, 1_000, 999_999_999]) * sign as i32));
        }
        "FieldMask" => {
            let paths = (0..rng.below(3))
                .map(|_| Value::String(rng.one_of(&["a", "spec.rack_unit", "b_c.d_e"]).into()));
            set("paths", Value::List(paths.collect()));
        }
        "Value" => match rng.below(if depth > 3 { 4 } else { 6 }) {
            0 => set("null_value", Value::EnumNumber(0)),
            1 => set("number_value", Value::F64(rng.finite())),
            2 => set("string_value", Value::String(rng.text())),
            3 => set("bool_value", Value::Bool(rng.below(2) == 0)),
            n => {
                let name = if n == 4 { "struct_value" } else { "list_value" };
                let Kind::Message(of) = descriptor.get_field_by_name(name).unwrap().kind() else {
                    return true;
                };
                set(name, Value::Message(self::message(&of, rng, depth + 1)));
            }
        },
        "Any" => {
            let name = rng.one_of(&[
                "random.M0",
                "google.protobuf.Timestamp",
                "google.protobuf.Struct",
                "google.protobuf.Empty",
            ]);
            let of = descriptor.parent_pool().get_message_by_name(name).unwrap();
            set("type_url", Value::String(format!("type.googleapis.com/{name}")));
            set("value", Value::Bytes(self::message(&of, rng, depth + 2).encode_to_vec().into()));
        }
        // prost-reflect writes null for NaN in a wrapper.
        "DoubleValue" => set("value", Value::F64(rng.finite())),
        "FloatValue" => set("value", Value::F32(Some(rng.float()).filter(|f| f.is_finite()).unwrap_or(1.5))),
        _ => return false,
    }
    true
}

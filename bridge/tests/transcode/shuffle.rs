//! The same message on the wire in another way: any order, messages and lists in pieces, overridden values.

use kubridge_bridge::wire::{fields, put_bytes};
use prost_reflect::{Kind, MessageDescriptor, prost::encoding::WireType};

use super::fill::Rng;

pub(crate) fn shuffle(descriptor: &MessageDescriptor, wire: &[u8], rng: &mut Rng) -> Vec<u8> {
    // Pieces by field number; those of one number, or one oneof, keep their order.
    let mut queues: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for field in fields(wire).map(Result::unwrap) {
        let mut pieces = vec![field.raw.to_vec()];
        if let Some(known) = descriptor.get_field(field.number) {
            match known.kind() {
                Kind::Message(of) if field.wire_type == WireType::LengthDelimited && !of.is_map_entry() => {
                    let shuffled = shuffle(&of, field.value, rng);
                    let parts = if known.is_list() { vec![&shuffled[..]] } else { split(&shuffled, rng) };
                    pieces = parts.into_iter().map(|part| len(field.number, part)).collect();
                }
                Kind::Int32 | Kind::Uint64 | Kind::Sint64 | Kind::Bool | Kind::Enum(_)
                    if known.is_list()
                        && field.wire_type == WireType::LengthDelimited
                        && rng.below(2) == 0 =>
                {
                    pieces = unpack(field.number, field.value);
                }
                Kind::Message(_) => {}
                _ if !known.is_list()
                    && known.containing_oneof().is_none_or(|oneof| oneof.is_synthetic())
                    && rng.below(3) == 0 =>
                {
                    // An earlier value, which counts for nothing.
                    pieces.insert(0, decoy(field.number, field.wire_type));
                }
                _ => {}
            }
        }
        match queues.iter_mut().find(|(number, _)| *number == field.number) {
            Some((_, queue)) => queue.extend(pieces),
            None => queues.push((field.number, pieces)),
        }
    }
    let mut out = Vec::new();
    for (_, queue) in &mut queues {
        queue.reverse();
    }
    while !queues.is_empty() {
        let at = rng.below(queues.len());
        match queues[at].1.pop() {
            Some(piece) => out.extend_from_slice(&piece),
            None => {
                queues.swap_remove(at);
            }
        }
    }
    out
}

fn len(number: u32, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, contents);
    out
}

/// A message in two pieces, cut between two of its fields.
fn split<'a>(wire: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let count = fields(wire).count();
    if count < 2 || rng.below(2) == 0 {
        return vec![wire];
    }
    let cut: usize = fields(wire).take(rng.below(count)).map(|field| field.unwrap().raw.len()).sum();
    vec![&wire[..cut], &wire[cut..]]
}

fn unpack(number: u32, packed: &[u8]) -> Vec<Vec<u8>> {
    let ends: Vec<_> =
        packed.iter().enumerate().filter(|(_, byte)| **byte < 0x80).map(|(at, _)| at + 1).collect();
    let mut start = 0;
    let mut pieces = vec![len(number, b"")];
    for end in ends {
        let mut piece = Vec::new();
        prost_reflect::prost::encoding::encode_key(number, WireType::Varint, &mut piece);
        piece.extend_from_slice(&packed[start..end]);
        pieces.push(piece);
        start = end;
    }
    pieces
}

fn decoy(number: u32, wire_type: WireType) -> Vec<u8> {
    let mut out = Vec::new();
    prost_reflect::prost::encoding::encode_key(number, wire_type, &mut out);
    out.extend_from_slice(match wire_type {
        WireType::Varint => &[5],
        WireType::SixtyFourBit => &[1; 8],
        WireType::ThirtyTwoBit => &[1; 4],
        _ => &[1, b'x'],
    });
    out
}

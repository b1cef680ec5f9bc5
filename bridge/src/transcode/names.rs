//! A fixed set of names, looked up by their bytes without allocation.

/// Names to their positions. Open addressing at half load; names are compared in full.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    names: Vec<(Box<[u8]>, u32)>,
    /// 0: empty, else one more than the index into `names`.
    slots: Box<[u32]>,
}

impl NameIndex {
    /// Of equal names the first one stays.
    pub(super) fn new<'a>(entries: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let names: Vec<_> =
            entries.into_iter().map(|(name, value)| (Box::from(name.as_bytes()), value)).collect();
        let slots = vec![0; (names.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        let mut index = Self { names: Vec::with_capacity(names.len()), slots };
        for (name, value) in names {
            let slot = index.slot(&name);
            if index.slots[slot] == 0 {
                index.names.push((name, value));
                index.slots[slot] = u32::try_from(index.names.len()).expect("fewer than 2^32 names");
            }
        }
        index
    }

    /// The value of a name.
    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let at = *self.slots.get(self.slot(name))? as usize;
        self.names.get(at.wrapping_sub(1)).map(|(_, value)| *value)
    }

    /// The slot that holds the name, or the empty one where it would stand.
    #[inline]
    fn slot(&self, name: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (hash(name) >> 32) as usize & mask;
        loop {
            match self.slots[at] {
                0 => return at,
                taken if *self.names[taken as usize - 1].0 == *name => return at,
                _ => at = (at + 1) & mask,
            }
        }
    }
}

/// Length, head and tail of the name, mixed.
#[inline]
fn hash(name: &[u8]) -> u64 {
    let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (Some(head), Some(tail)) => (u32::from_le_bytes(*head).into(), u32::from_le_bytes(*tail).into()),
            _ => (name.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)), 0),
        },
    };
    (head ^ tail.rotate_left(29) ^ (name.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::NameIndex;

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> = (0..500).map(|n| format!("{}field{}", "x".repeat(n % 20), n)).collect();
        let index = NameIndex::new(names.iter().zip(0..).map(|(name, n)| (name.as_str(), n)));
        for (name, n) in names.iter().zip(0..) {
            assert_eq!(index.get(name.as_bytes()), Some(n));
            assert_eq!(index.get(format!("{name}_").as_bytes()), None);
        }
        assert_eq!(NameIndex::default().get(b"a"), None);
        assert_eq!(NameIndex::new([]).get(b""), None);
    }
}

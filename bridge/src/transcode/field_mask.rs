//! Paths of `google.protobuf.FieldMask`: snake_case in protobuf, lowerCamelCase in JSON.

/// None: the path would not come back the same.
pub(super) fn to_json(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '_' => out.push(chars.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase()),
            'a'..='z' | '0'..='9' | '.' => out.push(c),
            _ => return None,
        }
    }
    Some(out)
}

/// None: not a path in lowerCamelCase.
pub(super) fn from_json(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        match c {
            'A'..='Z' => {
                out.push('_');
                out.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' | '.' => out.push(c),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_change_their_case() {
        for (path, json) in [("spec.rack_unit", "spec.rackUnit"), ("a_b1.c_d", "aB1.cD"), ("_a", "A")] {
            assert_eq!(super::to_json(path).as_deref(), Some(json));
            assert_eq!(super::from_json(json).as_deref(), Some(path));
        }
        for bad in ["", "fooBar", "foo__bar", "foo_1", "foo_", "f-o", "é"] {
            assert_eq!(super::to_json(bad), None, "{bad}");
        }
        assert_eq!(super::from_json("foo_bar"), None);
    }
}

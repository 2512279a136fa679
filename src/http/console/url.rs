//! URLs of pages.

/// Returns `path` with a query of the pairs that have a value.
pub(super) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let given: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    if given.is_empty() {
        return path.to_owned();
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in given {
        query.append_pair(name, value);
    }
    format!("{path}?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_without_a_value_are_left_out() {
        assert_eq!(with_query("/people", &[("search", ""), ("zone", "")]), "/people");
        let query = with_query("/people", &[("search", "O’Hara & co"), ("zone", ""), ("cursor", "1")]);
        assert_eq!(query, "/people?search=O%E2%80%99Hara+%26+co&cursor=1");
    }
}

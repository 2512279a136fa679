use std::fmt::Display;

/// Formats a count with separators: `1,234,567`.
pub(super) fn number(count: impl Display) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let shown = [0_i64, 999, 1000, 30_000_000].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "30,000,000"]);
    }
}

//! The text of a message in Slack's format.

/// Escapes the characters that begin mentions, links and entities.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Returns the escaped text with a mention of the user in front.
pub(super) fn mentioning(user_id: &str, text: &str) -> String {
    format!("<@{}> {}", escape(user_id), escape(text))
}

/// Returns whether a contact's address is an email address. The other addresses of this channel are ids of users.
pub(super) fn is_email(address: &str) -> bool {
    address.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_characters_are_escaped() {
        let text = "Tom & Jerry <!channel> \"x\" 'y' @here *b* é";
        assert_eq!(escape(text), "Tom &amp; Jerry &lt;!channel&gt; \"x\" 'y' @here *b* é");
        assert_eq!(mentioning("U1", "a<b"), "<@U1> a&lt;b");
        assert_eq!(mentioning("U1> <!channel", ""), "<@U1&gt; &lt;!channel> ");
    }
}

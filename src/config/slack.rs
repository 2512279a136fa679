//! Rules for the section `[channels.slack]`.

use reqwest::Url;

use super::{SlackConfig, is_local};
use crate::pipeline::channel::slack::{Bot, Endpoint, Token};

const API: &str = "https://slack.com/api/";
const MAX_ID_LENGTH: usize = 40;
const USAGE: &str = "give slack://TOKEN@slack.com with the token of a bot (xoxb-…), or the https:// URL of an incoming webhook";

/// No variant contains the URL or a part of it, because both kinds are secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SlackUrlError {
    #[error("is empty: {USAGE}")]
    Empty,
    #[error("is not a URL: {USAGE}")]
    Invalid,
    #[error("has an unknown scheme: {USAGE}")]
    Scheme,
    #[error("has no token in front of the host: give slack://TOKEN@slack.com")]
    NoToken,
    #[error(
        "has a token with other characters than letters, digits, dots and hyphens: copy the Bot User OAuth Token of the app"
    )]
    Token,
    #[error("has an app-level token (xapp-…), which cannot post: give the token of the bot (xoxb-…)")]
    AppToken,
    #[error("has an invalid host or port, or a path or a query: give slack://TOKEN@slack.com")]
    Host,
    #[error(
        "is slack+http:// to another machine, which sends the token unencrypted: give slack://TOKEN@slack.com"
    )]
    RemoteHttp,
    #[error(
        "is http:// to another machine, which sends names and birthdays unencrypted: give an https:// URL"
    )]
    Unencrypted,
    #[error("has a user, a password or no path, unlike the URL of an incoming webhook: {USAGE}")]
    NoWebhook,
    #[error(
        "is an incoming webhook, which posts to the channel that it was created for: remove channels.slack.channel, or give \
         slack://TOKEN@slack.com"
    )]
    Channel,
}

/// Parses `channels.slack.url`. `in_channel`: `channels.slack.channel` is given.
pub(crate) fn parse_slack_url(text: &str, in_channel: bool) -> Result<Endpoint, SlackUrlError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SlackUrlError::Empty);
    }
    let (scheme, rest) = text.split_once("://").ok_or(SlackUrlError::Invalid)?;
    match scheme.to_ascii_lowercase().as_str() {
        "slack" => {
            let (token, server) = split_token(rest)?;
            if !server.trim_end_matches('/').eq_ignore_ascii_case("slack.com") {
                return Err(SlackUrlError::Host);
            }
            let api = API.parse().map_err(|_| SlackUrlError::Invalid)?;
            Ok(Endpoint::Bot(Bot { api, token }))
        }
        "slack+http" => {
            let (token, server) = split_token(rest)?;
            let api = format!("http://{}/api/", server.trim_end_matches('/'));
            let api: Url = api.parse().map_err(|_| SlackUrlError::Invalid)?;
            match api.path() {
                "/api/" if is_local(&api) => Ok(Endpoint::Bot(Bot { api, token })),
                "/api/" => Err(SlackUrlError::RemoteHttp),
                _ => Err(SlackUrlError::Host),
            }
        }
        "https" | "http" if in_channel => Err(SlackUrlError::Channel),
        "https" | "http" => incoming(text).map(Endpoint::Incoming),
        _ => Err(SlackUrlError::Scheme),
    }
}

/// Splits off the token, which is in front of the host.
fn split_token(rest: &str) -> Result<(Token, &str), SlackUrlError> {
    let (token, server) = rest.split_once('@').ok_or(SlackUrlError::NoToken)?;
    if token.is_empty() {
        return Err(SlackUrlError::NoToken);
    }
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        return Err(SlackUrlError::Token);
    }
    if token.starts_with("xapp-") {
        return Err(SlackUrlError::AppToken);
    }
    if server.contains(['@', '?', '#']) {
        return Err(SlackUrlError::Host);
    }
    Ok((Token::new(token), server))
}

fn incoming(text: &str) -> Result<Url, SlackUrlError> {
    let url = Url::parse(text).map_err(|_| SlackUrlError::Invalid)?;
    if url.scheme() == "http" && !is_local(&url) {
        return Err(SlackUrlError::Unencrypted);
    }
    // Another page may answer any POST with 200, which would count as delivered.
    if url.path() == "/" || !url.username().is_empty() || url.password().is_some() {
        return Err(SlackUrlError::NoWebhook);
    }
    Ok(url)
}

impl SlackConfig {
    /// Returns the errors of the section. A URL from another source is checked when it is fetched.
    pub(super) fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if !self.channel.is_empty() && !is_channel_id(&self.channel) {
            errors.push(format!(
                "channels.slack.channel is {:?}: give the id of a channel, such as C0123456789 (Slack shows it at the end of \
                 the channel's details), or leave it empty for direct messages",
                self.channel
            ));
        }
        let url = self.url.literal().filter(|url| !url.is_empty());
        if let Some(Err(error)) = url.map(|url| parse_slack_url(url, !self.channel.is_empty())) {
            errors.push(format!("channels.slack.url {error}"));
        }
        errors
    }
}

/// C…: a channel. G…: a private channel of older workspaces.
fn is_channel_id(text: &str) -> bool {
    text.len() > 1
        && text.len() <= MAX_ID_LENGTH
        && text.starts_with(['C', 'G'])
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(api: &str, token: &str) -> Endpoint {
        Endpoint::Bot(Bot { api: api.parse().expect("a URL"), token: Token::new(token) })
    }

    #[test]
    fn urls_of_bots_and_incoming_webhooks_are_accepted() {
        for (url, endpoint) in [
            ("slack://xoxb-1-a@slack.com", bot(API, "xoxb-1-a")),
            (" slack://xoxe.xoxb-1-a@Slack.com/\n", bot(API, "xoxe.xoxb-1-a")),
            ("slack+http://xoxb-1@127.0.0.1:9", bot("http://127.0.0.1:9/api/", "xoxb-1")),
            ("slack+http://xoxb-1@[::1]:9/", bot("http://[::1]:9/api/", "xoxb-1")),
            ("slack+http://xoxb-1@localhost:9", bot("http://localhost:9/api/", "xoxb-1")),
        ] {
            assert_eq!(parse_slack_url(url, false), Ok(endpoint.clone()), "{url}");
            assert_eq!(parse_slack_url(url, true), Ok(endpoint), "{url}");
        }
        for url in ["https://hooks.slack.com/services/T/B/X", "http://127.0.0.1:9/services/T/B/X"] {
            let endpoint = Endpoint::Incoming(url.parse().expect("a URL"));
            assert_eq!(parse_slack_url(url, false), Ok(endpoint));
            assert_eq!(parse_slack_url(url, true), Err(SlackUrlError::Channel));
        }
    }

    #[test]
    fn errors_say_what_is_wrong_and_show_nothing_of_the_url() {
        use SlackUrlError as E;
        for (url, expected) in [
            ("", E::Empty),
            ("hunter2", E::Invalid),
            ("ftp://hunter2@slack.com", E::Scheme),
            ("slack://hunter2", E::NoToken),
            ("slack://@slack.com", E::NoToken),
            ("slack://x:hunter2@slack.com", E::Token),
            ("slack://hunter2 @slack.com", E::Token),
            ("slack://hunter2/@slack.com", E::Token),
            ("slack://xapp-hunter2@slack.com", E::AppToken),
            ("slack://hunter2@example.org", E::Host),
            ("slack://hunter2@slack.com:99", E::Host),
            ("slack://hunter2@slack.com/api", E::Host),
            ("slack://hunter2@slack.com?x", E::Host),
            ("slack://hunter2@example.org@slack.com", E::Host),
            ("slack+http://hunter2@slack.com", E::RemoteHttp),
            ("slack+http://hunter2@10.0.0.1:80", E::RemoteHttp),
            ("slack+http://hunter2@127.0.0.1/x", E::Host),
            ("slack+http://hunter2@", E::Host),
            ("http://example.org/hunter2", E::Unencrypted),
            ("https://hunter2@slack.com/services", E::NoWebhook),
            ("https://:hunter2@slack.com/services", E::NoWebhook),
            ("https://slack.com", E::NoWebhook),
            ("https://", E::Invalid),
        ] {
            let error = parse_slack_url(url, false).expect_err(url);
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn only_ids_of_channels_are_accepted() {
        for id in ["C0123456789", "G01"] {
            assert!(is_channel_id(id), "{id}");
        }
        for text in ["", "C", "#general", "U0123456789", "C01-23", "c0123456789", &"C".repeat(41)] {
            assert!(!is_channel_id(text), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = |url| format!("{:?}", parse_slack_url(url, false).expect("an endpoint"));
        assert_eq!(shown("slack://hunter2@slack.com"), "Bot");
        assert_eq!(shown("https://hooks.slack.com/services/hunter2"), "Incoming");
        assert_eq!(format!("{:?}", Token::new("hunter2")), "Token");
    }
}

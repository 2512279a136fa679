//! What the answers of Slack mean: the error codes on the pages of `chat.postMessage`, `users.lookupByEmail` and incoming webhooks.
//!
//! `docs/channels.md` has the same rows; a test compares them, and sends each.

use std::time::Duration;

use crate::model::{AttemptOutcome, ContactStatus, Reason};
use crate::pipeline::channel::{Disposition, SendResult};

use Cause::{ChannelDown, Recipient, Refused, Rejected, Throttled, Unknown};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The person cannot be reached. In a configured channel: the channel cannot be posted to.
    Recipient,
    /// Every request is refused, for any person.
    ChannelDown,
    /// Refused for now.
    Throttled,
    /// This message is refused.
    Rejected,
    /// Refused without a known cause.
    Refused,
    /// The message may have been posted.
    Unknown,
}

/// What a request was for. It decides what a cause means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Posts a direct message.
    Direct,
    /// Posts to the configured channel.
    Channel,
    /// Looks up a person. Posts nothing.
    Lookup,
    /// Posts by an incoming webhook.
    Incoming,
    /// Checks the token. Posts nothing.
    Check,
}

#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub code: &'static str,
    /// In words, for errors and the documentation.
    pub meaning: &'static str,
    pub cause: Cause,
}

const fn row(code: &'static str, cause: Cause, meaning: &'static str) -> Row {
    Row { code, meaning, cause }
}

/// Codes of every method of the API.
pub const ANY_METHOD: &[Row] = &[
    row("not_authed", ChannelDown, "the request has no token"),
    row("invalid_auth", ChannelDown, "the token is invalid, or not allowed from this network"),
    row("account_inactive", ChannelDown, "the bot or its workspace was deleted"),
    row("token_revoked", ChannelDown, "the token was revoked, or the app was removed"),
    row("token_expired", ChannelDown, "the token has expired"),
    row("not_allowed_token_type", ChannelDown, "a token of this type is not allowed: use the token of a bot"),
    row("missing_scope", ChannelDown, "the token lacks a scope"),
    row("no_permission", ChannelDown, "the token lacks the permission"),
    row("access_denied", ChannelDown, "access is denied"),
    row("accesslimited", ChannelDown, "access is limited on this network"),
    row("ekm_access_denied", ChannelDown, "administrators have suspended messages"),
    row("enterprise_is_restricted", ChannelDown, "the method is not available in this organisation"),
    row("org_login_required", ChannelDown, "the workspace is being moved into an organisation"),
    row("team_access_not_granted", ChannelDown, "the token has no access to the workspace"),
    row("team_not_found", ChannelDown, "the workspace is unknown"),
    row("two_factor_setup_required", ChannelDown, "the account requires two-factor authentication"),
    row("method_deprecated", ChannelDown, "the method was removed"),
    row("deprecated_endpoint", ChannelDown, "the method was removed"),
    row("invalid_post_type", ChannelDown, "the content type is not accepted"),
    row("missing_post_type", ChannelDown, "the content type is missing"),
    row("invalid_charset", ChannelDown, "the character set is not accepted"),
    row("invalid_arg_name", ChannelDown, "the name of an argument is not accepted"),
    row("invalid_array_arg", ChannelDown, "an argument is an array"),
    row("invalid_form_data", ChannelDown, "the form is invalid"),
    row("invalid_json", ChannelDown, "the JSON is invalid"),
    row("json_not_object", ChannelDown, "the JSON is not an object"),
    row("ratelimited", Throttled, "the rate limit is reached"),
    row("rate_limited", Throttled, "the rate limit is reached"),
    row("service_unavailable", Throttled, "the service is temporarily unavailable"),
    row("team_added_to_org", Throttled, "the workspace is being moved into an organisation"),
    row("invalid_arguments", Rejected, "an argument is invalid"),
    row("fatal_error", Unknown, "an error inside Slack, possibly after the message was posted"),
    row("internal_error", Unknown, "an error inside Slack, possibly after the message was posted"),
    row("request_timeout", Unknown, "the request arrived incomplete"),
];

/// Further codes of `chat.postMessage`.
pub const POST_MESSAGE: &[Row] = &[
    row("channel_not_found", Recipient, "the user or channel is unknown, or the bot has no access to it"),
    row("user_not_found", Recipient, "the user is unknown"),
    row("user_disabled", Recipient, "the user is deactivated"),
    row("user_not_visible", Recipient, "the bot has no access to the user"),
    row("user_is_bot", Recipient, "the user is a bot"),
    row("user_is_restricted", Recipient, "the user is a guest"),
    row("user_is_ultra_restricted", Recipient, "the user is a guest of one channel"),
    row("cannot_dm_bot", Recipient, "the user is a bot"),
    row("is_archived", Recipient, "the conversation is archived"),
    row("not_in_channel", Recipient, "the bot is not a member of the conversation"),
    row("restricted_action", Recipient, "a preference of the workspace forbids to post"),
    row("restricted_action_read_only_channel", Recipient, "the channel is read-only"),
    row("restricted_action_thread_only_channel", Recipient, "the channel accepts only replies"),
    row("restricted_action_non_threadable_channel", Recipient, "the channel accepts no replies"),
    row("restricted_action_thread_locked", Recipient, "the thread is locked"),
    row("messages_tab_disabled", ChannelDown, "the messages tab of the app is disabled"),
    row("metadata_must_be_sent_from_app", ChannelDown, "the token is not the token of an app"),
    row("as_user_not_supported", ChannelDown, "the app cannot post as a user"),
    row("message_limit_exceeded", Throttled, "the workspace has reached its limit of messages"),
    row("msg_too_long", Rejected, "the text is too long"),
    row("no_text", Rejected, "the text is empty"),
    row("invalid_blocks", Rejected, "the blocks are invalid"),
    row("invalid_blocks_format", Rejected, "the blocks are invalid"),
    row("msg_blocks_too_long", Rejected, "the blocks are too long"),
    row("markdown_text_conflict", Rejected, "the message has two texts"),
    row("too_many_attachments", Rejected, "the message has too many attachments"),
    row("attachment_payload_limit_exceeded", Rejected, "the attachments are too large"),
    row("too_many_contact_cards", Rejected, "the message has too many contacts"),
    row("missing_file_data", Rejected, "the data of a file are missing"),
    row("cannot_reply_to_message", Rejected, "the message cannot have replies"),
    row("invalid_metadata_format", Rejected, "the metadata are invalid"),
    row("invalid_metadata_schema", Rejected, "the metadata are invalid"),
    row("metadata_too_large", Rejected, "the metadata are too large"),
    row("slack_connect_file_link_sharing_blocked", Rejected, "links to files are forbidden in Slack Connect"),
    row("slack_connect_canvas_sharing_blocked", Rejected, "canvases are forbidden in Slack Connect"),
    row("slack_connect_lists_sharing_blocked", Rejected, "lists are forbidden in Slack Connect"),
];

/// Further codes of `users.lookupByEmail`. Nothing was posted.
pub const LOOKUP_BY_EMAIL: &[Row] = &[
    row("users_not_found", Recipient, "no active user has this email address"),
    row("user_not_found", Recipient, "no active user has this email address"),
];

/// The body of a response of an incoming webhook other than 2xx.
pub const INCOMING: &[Row] = &[
    row("invalid_token", ChannelDown, "the token in the URL is invalid"),
    row("action_prohibited", ChannelDown, "administrators have restricted the webhook"),
    row("posting_to_general_channel_denied", ChannelDown, "posts to the general channel are restricted"),
    row("team_disabled", ChannelDown, "the workspace is disabled"),
    row("no_team", ChannelDown, "the workspace is unknown"),
    row("no_service", ChannelDown, "the webhook is disabled, removed or invalid"),
    row("no_service_id", ChannelDown, "the webhook is invalid"),
    row("no_active_hooks", ChannelDown, "the webhook is disabled"),
    row("channel_not_found", ChannelDown, "the channel of the webhook was deleted"),
    row("channel_is_archived", ChannelDown, "the channel of the webhook is archived"),
    row("user_not_found", ChannelDown, "the user of the webhook is unknown"),
    row("rate_limited", Throttled, "the rate limit is reached"),
    row("ratelimited", Throttled, "the rate limit is reached"),
    row("invalid_payload", Rejected, "the message is invalid"),
    row("no_text", Rejected, "the text is empty"),
    row("invalid_blocks", Rejected, "the blocks are invalid"),
    row("invalid_blocks_format", Rejected, "the blocks are invalid"),
    row("too_many_attachments", Rejected, "the message has too many attachments"),
    row("rollup_error", Unknown, "an error inside Slack, possibly after the message was posted"),
];

/// A status without a known code.
#[derive(Debug, Clone, Copy)]
pub struct StatusRow {
    pub first: u16,
    pub last: u16,
    pub meaning: &'static str,
    pub cause: Cause,
}

const fn status(first: u16, last: u16, cause: Cause, meaning: &'static str) -> StatusRow {
    StatusRow { first, last, meaning, cause }
}

/// The first match applies. 2xx of an incoming webhook is delivered whatever its body.
pub const STATUSES: &[StatusRow] = &[
    status(200, 299, Unknown, "a response without `ok` or with an unknown code"),
    status(300, 399, ChannelDown, "a redirect, which is not followed: the URL is wrong"),
    status(401, 401, ChannelDown, "the token or the webhook is invalid"),
    status(403, 404, ChannelDown, "the token or the webhook is invalid, or the URL is wrong"),
    status(410, 410, ChannelDown, "the webhook was removed"),
    status(429, 429, Throttled, "the rate limit is reached"),
    status(400, 499, Refused, "the request is refused"),
    status(100, 999, Unknown, "an error inside Slack, possibly after the message was posted"),
];

impl Step {
    pub(super) fn row(self, code: &str) -> Option<&'static Row> {
        let tables: &[&'static [Row]] = match self {
            Self::Direct | Self::Channel => &[POST_MESSAGE, ANY_METHOD],
            Self::Lookup => &[LOOKUP_BY_EMAIL, ANY_METHOD],
            Self::Incoming => &[INCOMING],
            Self::Check => &[ANY_METHOD],
        };
        tables.iter().copied().flatten().find(|row| row.code == code)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct | Self::Channel => "chat.postMessage",
            Self::Lookup => "users.lookupByEmail",
            Self::Incoming => "the incoming webhook",
            Self::Check => "auth.test",
        }
    }
}

impl Cause {
    #[must_use]
    pub fn at(self, step: Step) -> (AttemptOutcome, Disposition, Reason) {
        use AttemptOutcome as Outcome;
        let failed = |disposition, reason| (Outcome::Failed, disposition, reason);
        match (self, step) {
            (Recipient, Step::Direct | Step::Lookup) => {
                failed(Disposition::Unreachable(ContactStatus::Bounced), Reason::Bounced)
            }
            (Recipient, Step::Channel | Step::Incoming | Step::Check) | (ChannelDown, _) => {
                failed(Disposition::Defer(None), Reason::ChannelDown)
            }
            (Throttled, _) => failed(Disposition::Defer(None), Reason::Throttled),
            (Rejected, _) => failed(Disposition::Dead, Reason::Rejected),
            (Refused, _) | (Unknown, Step::Lookup | Step::Check) => {
                failed(Disposition::Retry(None), Reason::Status)
            }
            (Unknown, _) => (Outcome::Unknown, Disposition::Retry(None), Reason::Status),
        }
    }
}

/// Returns the result of an unsuccessful response. `code` comes from Slack. `after`: its header `Retry-After`.
pub(super) fn classify(step: Step, status: u16, code: Option<&str>, after: Option<Duration>) -> SendResult {
    let row = code.and_then(|code| step.row(code));
    // 429 always means that nothing was posted.
    let by_status = STATUSES.iter().find(|row| (row.first..=row.last).contains(&status));
    let (cause, text) = match (row, by_status) {
        (Some(row), _) if status != 429 => (row.cause, format!("{} ({})", row.code, row.meaning)),
        (_, Some(row)) => (row.cause, format!("{status}{} ({})", unknown_code(code), row.meaning)),
        (_, None) => (Unknown, status.to_string()),
    };
    let (outcome, disposition, reason) = cause.at(step);
    let disposition = match disposition {
        Disposition::Defer(None) => Disposition::Defer(after),
        other => other,
    };
    let failed = SendResult::failed(outcome, disposition, reason, format!("{} answered {text}", step.name()));
    SendResult { status: Some(status), ..failed }
}

/// Only what can be a code of Slack, since errors are logged.
fn unknown_code(code: Option<&str>) -> String {
    let is_code = |code: &&str| {
        (1..=60).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    code.filter(is_code).map(|code| format!(" {code}")).unwrap_or_default()
}

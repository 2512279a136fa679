//! The state of an account. Sends nothing.

use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{MAX_ANSWER_BYTES, TwilioAccount};
use crate::pipeline::channel::excerpt;
use crate::pipeline::channel::http_client::{HttpClient, HttpError, read_body};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountState {
    /// `active`, `suspended` or `closed`.
    pub status: String,
    /// A trial account sends to verified numbers only.
    pub is_trial: bool,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Reads the account, which requires its token.
///
/// # Errors
/// Twilio is unreachable or refuses the credentials. The text does not contain them.
pub async fn check_account(client: &HttpClient, account: &TwilioAccount) -> Result<AccountState, String> {
    let mut url = account.base.clone();
    url.set_path(&format!("/2010-04-01/Accounts/{}.json", account.sid));
    let request = client.request(Method::GET, url);
    let request = request.basic_auth(&account.sid, Some(account.token.expose_secret())).build();
    let answer = match request {
        Ok(request) => client.send(request).await,
        Err(error) => Err(HttpError::Http(error)),
    };
    let response = answer.map_err(|error| match error {
        HttpError::Http(error) => crate::store::chain(&error.without_url()),
        other => other.to_string(),
    })?;
    let status = response.status();
    let body = read_body(response, MAX_ANSWER_BYTES).await;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err("Twilio refuses the account SID or its token".to_owned())
        }
        status if !status.is_success() => Err(format!("Twilio answers {status}")),
        _ => {
            let answer: Answer = serde_json::from_slice(&body)
                .map_err(|_| format!("the answer is not an account: {:?}", excerpt(&body)))?;
            let is_trial = answer.kind.as_deref() == Some("Trial");
            Ok(AccountState { status: answer.status, is_trial })
        }
    }
}

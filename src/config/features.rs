//! Keys that need a feature of the build. Each error names the key, its value and the feature.

use super::source::Reference;
use super::{Config, ConfigError, QueueKind, Tls};

#[derive(Debug, Clone, Copy)]
struct Features {
    aws: bool,
    otlp: bool,
    tls: bool,
}

/// The features of this binary.
const BUILT: Features =
    Features { aws: cfg!(feature = "aws"), otlp: cfg!(feature = "otlp"), tls: cfg!(feature = "tls") };

impl Config {
    /// Errors of the keys that this binary cannot serve. `queue.kind` is checked by [`Self::require_queue_feature`], since its default
    /// is `sqs` and some commands use no queue.
    pub(super) fn missing_features(&self) -> Vec<String> {
        self.missing(BUILT)
    }

    /// Checks that this binary has the queue that `queue.kind` names.
    pub(super) fn require_queue_feature(&self) -> Result<(), ConfigError> {
        self.require_queue_in(BUILT)
    }

    fn require_queue_in(&self, features: Features) -> Result<(), ConfigError> {
        if features.aws || self.queue.kind == QueueKind::Postgres {
            return Ok(());
        }
        let other = "or set BDAY__QUEUE__KIND=postgres for a queue in the database itself";
        Err(ConfigError::Invalid(vec![format!("{}, {other}", without("queue.kind is \"sqs\"", "aws"))]))
    }

    fn missing(&self, features: Features) -> Vec<String> {
        let mut errors = Vec::new();
        if !features.aws {
            errors.extend(self.aws_keys().into_iter().map(|key| without(&key, "aws")));
        }
        if !features.otlp && !self.traces.url.is_empty() {
            errors.push(without("traces.url is given", "otlp"));
        }
        if !features.tls {
            errors.extend(self.tls_keys().into_iter().map(|key| without(&key, "tls")));
        }
        errors
    }

    fn aws_keys(&self) -> Vec<String> {
        let (database, webhook) = (&self.database, &self.webhook);
        let references = [
            ("database.url", &database.url),
            ("database.password", &database.password),
            ("database.credentials", &database.credentials),
            ("webhook.url", &webhook.url),
            ("channels.mail.url", &self.channels.mail.url),
            ("traces.headers", &self.traces.headers),
        ];
        let secrets = webhook.secrets.iter().map(|secret| ("webhook.secrets", secret));
        let feedback = &self.channels.mail.feedback_queue_url;
        let feedback =
            (!feedback.is_empty()).then(|| format!("channels.mail.feedback_queue_url is {feedback:?}"));
        let iam_auth = database.iam_auth.then(|| "database.iam_auth is true".to_owned());
        references
            .into_iter()
            .chain(secrets)
            .filter(|(_, value)| matches!(value, Reference::Ssm(_) | Reference::Secret { .. }))
            .map(|(key, value)| format!("{key} is {value}"))
            .chain(iam_auth)
            .chain(feedback)
            .collect()
    }

    fn tls_keys(&self) -> Vec<String> {
        let (database, webhook) = (&self.database, &self.webhook);
        let https = |url: &str| url.trim_start().starts_with("https:");
        let required = !matches!(database.tls, Tls::Disable | Tls::Prefer);
        let keys = [
            (webhook.url.literal().is_some_and(https), "webhook.url is an https:// URL"),
            (!webhook.tls_root_cert.is_empty(), "webhook.tls_root_cert is given"),
            (required, "database.tls requires TLS"),
            (!self.channels.mail.tls_root_cert.is_empty(), "channels.mail.tls_root_cert is given"),
            (https(&self.traces.url), "traces.url is an https:// URL"),
        ];
        keys.into_iter().filter(|(used, _)| *used).map(|(_, key)| key.to_owned()).collect()
    }
}

fn without(key: &str, feature: &str) -> String {
    format!("{key}: this binary was built without the feature {feature}; build it with the default features")
}

#[cfg(test)]
mod tests {
    use super::super::{Variables, load};
    use super::*;

    const NONE: Features = Features { aws: false, otlp: false, tls: false };

    fn config(variables: &[(&str, &str)]) -> Config {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(None, variables.collect::<Variables>()).expect("a configuration")
    }

    #[test]
    fn a_key_that_needs_a_missing_feature_is_named_with_it() {
        let config = config(&[
            ("BDAY__DATABASE__HOST", "db"),
            ("BDAY__DATABASE__CREDENTIALS", "secretsmanager:bday/db"),
            ("BDAY__DATABASE__TLS", "verify-full"),
            ("BDAY__WEBHOOK__URL", "https://example.org/hook"),
            ("BDAY__WEBHOOK__SECRETS", "ssm:/bday/secret"),
            ("BDAY__CHANNELS__MAIL__FEEDBACK_QUEUE_URL", "https://sqs.example.org/1/f"),
            ("BDAY__TRACES__URL", "https://collector.example.org/v1/traces"),
        ]);
        let errors = config.missing(NONE);
        let starts: Vec<_> =
            errors.iter().filter_map(|error| error.split_once("; ")).map(|(start, _)| start).collect();
        let built =
            |key: &str, feature: &str| format!("{key}: this binary was built without the feature {feature}");
        assert_eq!(
            starts,
            [
                built("database.credentials is secretsmanager:bday/db", "aws"),
                built("webhook.secrets is ssm:/bday/secret", "aws"),
                built("channels.mail.feedback_queue_url is \"https://sqs.example.org/1/f\"", "aws"),
                built("traces.url is given", "otlp"),
                built("webhook.url is an https:// URL", "tls"),
                built("database.tls requires TLS", "tls"),
                built("traces.url is an https:// URL", "tls"),
            ]
        );
        assert_eq!(config.missing(Features { aws: true, otlp: true, tls: true }), Vec::<String>::new());
    }

    #[test]
    fn a_queue_in_sqs_needs_the_feature_aws() {
        let sqs = config(&[("BDAY__QUEUE__SQS__URL", "https://sqs.example.org/1/bday")]);
        let error = sqs.require_queue_in(NONE).expect_err("an error").to_string();
        assert!(
            error.contains("queue.kind is \"sqs\": this binary was built without the feature aws"),
            "{error}"
        );
        assert!(error.contains("BDAY__QUEUE__KIND=postgres"), "{error}");
        assert!(sqs.require_queue_in(Features { aws: true, ..NONE }).is_ok());
        assert!(config(&[("BDAY__QUEUE__KIND", "postgres")]).require_queue_in(NONE).is_ok());
    }
}

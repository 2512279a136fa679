//! `bday webhook test`

use std::process::ExitCode;
use std::sync::Arc;

use super::sample::{Exchange, Header};
use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::config::parse_url;
use crate::config::parts;
use crate::config::source::Sources;
use crate::pipeline::channel::webhook::Webhook;

const EXAMPLES: &str = "\
Examples:
  bday webhook test                                     to webhook.url, signed with webhook.secrets
  bday webhook test --url https://new.example/hook      to another receiver, before it is configured
  bday webhook test --json | jq .status

The sample looks like a greeting, with ids that no greeting has; it needs no database, and none is changed. What a \
real greeting must obey holds here, too: TLS, webhook.allow_http, the addresses that are allowed, the timeouts. \
Exit code 0 when a greeting would have been delivered, else 1.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Send to this URL, or to the one at env:, file:, ssm: or secretsmanager:
    #[arg(long, value_name = "URL")]
    url: Option<crate::config::source::Reference>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let allow_http = config.webhook.allow_http;
    let sources = Sources::new(Arc::clone(&clock));
    let client = parts::http_client(&config)?;
    let url = match &args.url {
        None => parts::webhook_url(&config, &sources).await?,
        Some(place) => {
            if let Some(Err(error)) = place.literal().map(|url| parse_url(url, allow_http)) {
                eprintln!("bday: --url {error}");
                return Ok(ExitCode::from(2));
            }
            parts::webhook_url_from("--url", place, allow_http, &sources).await?
        }
    };
    let secrets = parts::webhook_secrets(&config, &sources).await?;
    let webhook = Webhook::new(client, url.watch(), parts::signer(&secrets), Arc::clone(&clock));
    let exchange = Exchange::of_sample(&webhook, &*clock).await;
    if args.json {
        output::json(&exchange)?;
    } else {
        show(&exchange, &config.webhook.tls_root_cert);
    }
    Ok(if exchange.accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(exchange: &Exchange, roots: &str) {
    let heads = |headers: &[Header]| {
        for header in headers {
            println!("  {}: {}", header.name, header.value);
        }
    };
    println!("POST {}", exchange.url);
    heads(&exchange.request_headers);
    println!("\n  {}\n", exchange.body);
    if !exchange.request_headers.iter().any(|header| header.name == "webhook-signature") {
        println!("Not signed: webhook.secrets is empty.");
    }
    if let (Some(address), Some(status)) = (exchange.address, exchange.status_line()) {
        let tls = match (exchange.tls, roots) {
            (true, "") => "TLS, its certificate is good".to_owned(),
            (true, roots) => format!("TLS, its certificate is good by the machine's authorities or {roots}"),
            (false, _) => "no TLS".to_owned(),
        };
        println!("{status} after {} ms, from {address}; {tls}", exchange.elapsed_ms);
        heads(&exchange.response_headers);
        println!();
    }
    match exchange.error.as_deref().map(output::harmless) {
        None => println!("Accepted: a greeting would be delivered."),
        Some(error) if exchange.again => println!("FAILED: {error}. A greeting would be tried again."),
        Some(error) => println!("FAILED: {error}. A greeting would not be tried again."),
    }
}

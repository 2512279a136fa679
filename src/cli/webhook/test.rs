//! `bday webhook test`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;

use super::sample::{Exchange, Header};
use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::config::source::{Reference, Sources};
use crate::config::{parse_url, parts};
use crate::pipeline::channel::webhook::Webhook;

const EXAMPLES: &str = "\
Examples:
  bday webhook test                                 send to webhook.url, sign with webhook.secrets
  bday webhook test --url https://new.example/hook  send to another receiver
  bday webhook test --json | jq .status

The sample has the form of a greeting, with reserved ids. It is sent under the same rules: TLS, webhook.allow_http, \
allowed addresses, timeouts. Uses no database. Exit code 0 if a greeting would be delivered, else 1.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Send to this URL, or to the one at env:, file:, ssm: or secretsmanager:
    #[arg(long, value_name = "URL")]
    url: Option<Reference>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let config = source.load()?;
    let allow_http = config.webhook.allow_http;
    let sources = Sources::new(Arc::clone(&clock));
    let client = parts::http_client(&config)?;
    let url = match &args.url {
        None => parts::webhook_url(&config, &sources).await?,
        Some(reference) => {
            if let Some(Err(error)) = reference.literal().map(|url| parse_url(url, allow_http)) {
                eprintln!("bday: --url {error}");
                return Ok(ExitCode::from(2));
            }
            parts::webhook_url_from("--url", reference, allow_http, &sources).await?
        }
    };
    let secrets = parts::webhook_secrets(&config, &sources).await?;
    let webhook = Webhook::new(client, url.watch(), parts::signer(&secrets), Arc::clone(&clock));
    let exchange = Exchange::of_sample(&webhook, &*clock).await;
    if args.json {
        output::json(&exchange)?;
    } else {
        print(&exchange, &config.webhook.tls_root_cert);
    }
    Ok(if exchange.accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(exchange: &Exchange, tls_root_cert: &str) {
    println!("POST {}", exchange.url);
    print_headers(&exchange.request_headers);
    println!("\n  {}\n", exchange.body);
    if !exchange.request_headers.iter().any(|header| header.name == "webhook-signature") {
        println!("Not signed: webhook.secrets is empty.");
    }
    if let (Some(address), Some(status)) = (exchange.address, exchange.status_line()) {
        let tls = match (exchange.tls, tls_root_cert) {
            (true, "") => "TLS with a valid certificate".to_owned(),
            (true, file) => format!("TLS with a valid certificate, by the system's authorities or {file}"),
            (false, _) => "no TLS".to_owned(),
        };
        println!("{status} after {} ms, from {address}; {tls}", exchange.elapsed_ms);
        print_headers(&exchange.response_headers);
        println!();
    }
    match exchange.error.as_deref().map(output::escape) {
        None => println!("Accepted: a greeting would be delivered."),
        Some(error) if exchange.again => println!("FAILED: {error}. A greeting would be retried."),
        Some(error) => println!("FAILED: {error}. A greeting would not be retried."),
    }
}

fn print_headers(headers: &[Header]) {
    for header in headers {
        println!("  {}: {}", header.name, header.value);
    }
}

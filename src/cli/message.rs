//! `bday message`

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::ConfigSource;
use super::context::{Context, with_database};
use super::output::{self, BOLD, GREEN, RED, escape, paint};
use crate::clock::SharedClock;
use crate::model::ChannelName;
use crate::people::preview::{
    Preview, PreviewRequest, PreviewSettings, PreviewedMessage, SamplePreview, preview, sample_previews,
};

const PREVIEW: &str = "\
Examples:
  bday message preview hr-17
  bday message preview hr-17 --channel mail --locale de-AT
  bday message preview hr-17 --kind work_anniversary --json | jq '.messages[].text'
  bday message preview --samples --channel mail     users with special data; needs no database

Nothing is sent. The link to unsubscribe is an example.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what would be sent to a user on their next occasion, by each channel
    Preview(PreviewArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = PREVIEW)]
pub(super) struct PreviewArgs {
    /// The id or the external id
    #[arg(required_unless_present = "samples")]
    user: Option<String>,
    /// Show only this channel (webhook, mail, sms, slack or whatsapp) instead of all channels of the kind
    #[arg(long)]
    channel: Option<ChannelName>,
    /// Use this language tag instead of the user's locale
    #[arg(long)]
    locale: Option<String>,
    /// Preview this kind [default: birthday]
    #[arg(long)]
    kind: Option<String>,
    /// Show the messages to sample users: 29 February, no year, one name, a right-to-left name, 200 characters
    #[arg(long, conflicts_with = "user")]
    samples: bool,
    /// Print a JSON object, as GET /v1/users/{id}/preview does; with --samples: a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let Command::Preview(args) = command;
    let request =
        PreviewRequest { kind: args.kind.clone(), channel: args.channel, locale: args.locale.clone() };
    if args.samples {
        let settings = PreviewSettings::new(&source.load()?)?;
        let samples = sample_previews(&request, &settings, clock.now())?;
        output::json_or(args.json, &samples, || {
            samples.iter().for_each(print_sample);
            Ok(())
        })?;
        return Ok(exit_code(samples.iter().map(|sample| &sample.preview)));
    }
    let user = args.user.unwrap_or_default();
    let preview =
        with_database(source, clock, async |context| of_user(context, &user, &request).await).await?;
    output::json_or(args.json, &preview, || {
        print(&preview);
        Ok(())
    })?;
    Ok(exit_code([&preview]))
}

async fn of_user(context: &Context, user: &str, request: &PreviewRequest) -> Result<Preview> {
    let settings = PreviewSettings::new(&context.config)?;
    let (kind, channels) = settings.route(request)?;
    let user = context.user(user).await?;
    let reached_by = context.store.reach(user.id, kind, channels).await?;
    Ok(preview(&user, reached_by, request, &settings, context.clock.now())?)
}

/// A failure if a template fails.
fn exit_code<'a>(previews: impl IntoIterator<Item = &'a Preview>) -> ExitCode {
    let mut messages = previews.into_iter().flat_map(|preview| &preview.messages);
    if messages.any(|message| message.error.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print_sample(sample: &SamplePreview) {
    println!("{}", paint(BOLD, &format!("A user {}", sample.sample)));
    print_messages(&sample.preview);
    println!();
}

fn print(preview: &Preview) {
    let locale = preview.locale.as_deref().unwrap_or("none");
    let reached_by = preview.reached_by.map_or("no channel", ChannelName::as_str);
    println!(
        "{} on {}, locale {}, reached by {reached_by}",
        escape(&preview.kind),
        preview.local_date,
        escape(locale)
    );
    print_messages(preview);
}

fn print_messages(preview: &Preview) {
    for message in &preview.messages {
        println!();
        let templates = message.templates.join(", ");
        println!("{}  {templates}", paint(GREEN.bold(), message.channel.as_str()));
        print_message(message);
    }
}

fn print_message(message: &PreviewedMessage) {
    if let Some(error) = &message.error {
        println!("  {} {}", paint(RED, "fails, the event would be dead:"), escape(error));
    }
    let sections = [
        ("subject", message.subject.as_deref()),
        ("text", message.text.as_deref()),
        ("html", message.html.as_deref()),
        ("content_sid", message.content_sid.as_deref()),
    ];
    let variables = message.variables.iter().map(|(name, value)| (name.as_str(), Some(value.as_str())));
    for (name, value) in sections.into_iter().chain(variables) {
        match value {
            Some(text) if text.contains('\n') => {
                println!("  {name}:");
                text.lines().for_each(|line| println!("    {}", escape(line)));
            }
            Some(text) => println!("  {name}: {}", escape(text)),
            None => {}
        }
    }
}

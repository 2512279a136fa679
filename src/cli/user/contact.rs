//! `bday user contact`

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::output;
use crate::calendar::format_instant;
use crate::cli::context::Context;
use crate::model::{ChannelName, Contact, ContactStatus};
use crate::store::ContactChoice;

const CONTACT: &str = "\
Examples:
  bday user contact hr-17 sms --opt-out
  bday user contact hr-17 mail --opt-out --kind work_anniversary
  bday user contact hr-17 mail --opt-in

An opt-out belongs to the address: it remains when the user is deleted, and applies to everyone with this address. \
--opt-in also ends the suppression after a bounce or a complaint.";

#[derive(Debug, clap::Args)]
#[command(after_help = CONTACT)]
pub(in crate::cli) struct SetContact {
    /// The id or the external id
    user: String,
    /// mail, sms, slack or whatsapp
    channel: ChannelName,
    /// Send nothing to the user by this channel
    #[arg(long, required_unless_present = "opt_in", conflicts_with = "opt_in")]
    opt_out: bool,
    /// Send to the user by this channel again
    #[arg(long)]
    opt_in: bool,
    /// Only greetings of this kind [default: all kinds]
    #[arg(long)]
    kind: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn set(args: SetContact, context: &Context) -> Result<ExitCode> {
    let kind = context.schedule.check_kind(args.kind.as_deref())?;
    let user = context.user(&args.user).await?;
    let choice = ContactChoice { channel: args.channel, kind, is_opted_out: args.opt_out };
    let contact = context.store.choose_contact(user.id, choice, context.clock.now(), None).await?;
    let Some(contact) = contact else {
        bail!("the user {:?} has no address for the channel {}", args.user, args.channel);
    };
    let text = format!("{}: {}", contact.channel, describe(&contact));
    output::json_or_text(args.json, &contact, output::escape(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns address and status: `ada@example.org, opted_out since 2026-03-01 09:00:00Z`.
pub(super) fn describe(contact: &Contact) -> String {
    let mut text = format!("{}, {}", contact.address, contact.status);
    if let Some(since) = contact.since.filter(|_| contact.status != ContactStatus::Active) {
        text = format!("{text} since {}", format_instant(since));
    }
    if contact.opted_out_kinds.is_empty() {
        text
    } else {
        format!("{text}, opted out of {}", contact.opted_out_kinds.join(", "))
    }
}

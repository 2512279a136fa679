//! All integration tests, in one binary: each further binary would link the crate and its dependencies again
//! (tens of seconds and about 200 MB), and could not share the database server.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue panics, and says where")]

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod access;
mod api;
mod bad_input;
mod calendar;
mod channels_serve;
mod clock_offset;
mod config_show;
mod connections;
mod console;
mod contacts;
mod crashes;
mod dead_letters;
mod deletion;
mod demo;
mod doctor;
mod doctor_channels;
mod doctor_dns;
mod documents;
mod drain;
mod edits;
mod embedded_postgres;
mod explain;
mod feedback;
mod forecast;
mod health;
mod inbox;
mod inbox_live;
mod inbox_messages;
mod inbox_page;
mod inbox_smtp;
mod lateness;
mod locks;
mod logs;
mod mail;
mod metrics;
mod people_commands;
mod poolers;
mod providers;
mod queue;
mod rate;
mod restore;
mod routing;
mod serve;
mod simulate;
mod slack;
mod slack_codes;
mod slack_configuration;

mod sms_aws;
mod sms_twilio;
mod sources;
mod stages;
mod statements;
mod statistics;
mod sweeper;
mod templates;
mod traces;
mod twilio_callbacks;
mod unknown_kinds;
mod unreadable;
mod upgrade;
mod whatsapp;
mod wire_addresses;
mod wire_commands;
mod wire_deadline;
mod wire_recipes;
mod wire_signature;
mod wire_tls;
mod zone_data;

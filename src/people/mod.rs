//! Commands on users: import, export, explain, forecast, preview, calendar feed.

pub mod calendar_feed;
pub mod explain;
pub mod export;
pub mod forecast;
pub mod import;
pub mod preview;

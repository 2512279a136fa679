//! Commands on users: import, export, explain, forecast, preview.

pub mod explain;
pub mod export;
mod file_format;
pub mod forecast;
pub mod import;
pub mod preview;

pub use file_format::FileFormat;

//! Commands on users: import, export, explain, forecast.

pub mod explain;
pub mod export;
mod file_format;
pub mod forecast;
pub mod import;

pub use file_format::FileFormat;

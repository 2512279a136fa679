//! What is done with people: import, export, explain, forecast.

pub mod explain;
pub mod export;
pub mod forecast;
pub mod import;

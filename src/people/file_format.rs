#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// A header with column names, then a line for each user
    Csv,
    /// A JSON object on each line, as the API has it
    Ndjson,
}

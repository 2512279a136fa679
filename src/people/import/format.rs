use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportFormat {
    /// A header with column names, then a line for each user
    Csv,
    /// A JSON object on each line, as the API has it
    Ndjson,
    /// Contacts of an address book: vCard 2.1, 3.0 or 4.0
    Vcard,
}

impl ImportFormat {
    /// Returns the format of a media type without parameters, in lower case.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "text/csv" => Some(Self::Csv),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Ndjson),
            "text/vcard" | "text/x-vcard" => Some(Self::Vcard),
            _ => None,
        }
    }

    /// Returns the format of a file by the end of its name; any other end is CSV.
    #[must_use]
    pub fn of_file_name(name: &Path) -> Self {
        let extension = name.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Self::Ndjson,
            "vcf" | "vcard" => Self::Vcard,
            _ => Self::Csv,
        }
    }

    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
            Self::Vcard => "text/vcard",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_found_by_media_type_and_by_file_name() {
        for (format, file) in [
            (ImportFormat::Csv, "people.csv"),
            (ImportFormat::Csv, "-"),
            (ImportFormat::Ndjson, "a.b.jsonl"),
            (ImportFormat::Vcard, "Contacts.VCF"),
        ] {
            assert_eq!(ImportFormat::of_file_name(Path::new(file)), format, "{file}");
            assert_eq!(ImportFormat::of_media_type(format.media_type()), Some(format));
        }
        assert_eq!(ImportFormat::of_media_type("application/json"), None);
    }
}

//! Sources on this machine.

use std::path::PathBuf;

use async_trait::async_trait;
use secrecy::SecretString;

use super::{Source, SourceError};

/// A value in the configuration itself.
#[derive(Debug)]
pub(super) struct Literal(pub(super) SecretString);

#[async_trait]
impl Source for Literal {
    async fn fetch(&self) -> Result<SecretString, SourceError> {
        Ok(self.0.clone())
    }
}

#[derive(Debug)]
pub(super) struct EnvVariable(pub(super) String);

#[async_trait]
impl Source for EnvVariable {
    async fn fetch(&self) -> Result<SecretString, SourceError> {
        std::env::var(&self.0).map(SecretString::from).map_err(|_| SourceError::NoVariable(self.0.clone()))
    }
}

#[derive(Debug)]
pub(super) struct FileContent(pub(super) PathBuf);

#[async_trait]
impl Source for FileContent {
    async fn fetch(&self) -> Result<SecretString, SourceError> {
        let mut text = tokio::fs::read_to_string(&self.0)
            .await
            .map_err(|cause| SourceError::File { path: self.0.display().to_string(), cause })?;
        // Editors and `echo` append a line break. A trailing blank may be part of a password, so it stays.
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn a_file_is_read_without_the_line_break_at_its_end() {
        let path = std::env::temp_dir().join(format!("bday-source-{}", std::process::id()));
        std::fs::write(&path, "two words \r\n").expect("a file");
        let value = FileContent(path.clone()).fetch().await.expect("a value");
        assert_eq!(value.expose_secret(), "two words ");
        std::fs::remove_file(&path).expect("the file");
        let error = FileContent(path.clone()).fetch().await.expect_err("no file");
        assert!(error.to_string().contains(&*path.to_string_lossy()));
    }

    #[tokio::test]
    async fn an_error_names_the_missing_variable() {
        let error = EnvVariable("BDAY_NO_SUCH_VARIABLE".to_owned()).fetch().await.expect_err("no variable");
        assert_eq!(error.to_string(), "the environment variable BDAY_NO_SUCH_VARIABLE is not set");
    }
}

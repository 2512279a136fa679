//! A configuration file of a test.

use std::path::PathBuf;

/// A file that is deleted on drop.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn with(content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bday-test-{}.toml", uuid::Uuid::now_v7()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

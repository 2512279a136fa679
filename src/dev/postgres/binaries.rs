//! Finds the binaries of a PostgreSQL server.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;
use crate::store::MIN_SERVER_VERSION;

/// Names the folder of `postgres` and `initdb`, for a server in an unusual place.
pub const ENV_BIN_DIR: &str = "BDAY_PG_BIN";

const DEBIAN: &str = "/usr/lib/postgresql";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub initdb: PathBuf,
    pub postgres: PathBuf,
}

impl Binaries {
    /// Returns the binaries of the folder in `BDAY_PG_BIN`, or else of the newest version under `/usr/lib/postgresql`, or else
    /// of PATH. Skips versions that are too old, except in `BDAY_PG_BIN`.
    pub fn find() -> Result<Self, EmbeddedError> {
        if let Some(dir) = std::env::var_os(ENV_BIN_DIR).filter(|dir| !dir.is_empty()) {
            return Self::within(Path::new(&dir));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut error = EmbeddedError::NotInstalled;
        for dir in newest_first(Path::new(DEBIAN)).into_iter().chain(std::env::split_paths(&path)) {
            match Self::within(&dir) {
                Err(too_old @ EmbeddedError::TooOld { .. }) => error = too_old,
                Err(_) => {}
                found => return found,
            }
        }
        Err(error)
    }

    /// Returns the binaries in `dir`. Follows links first, since distributions link only some of the binaries into PATH.
    pub fn within(dir: &Path) -> Result<Self, EmbeddedError> {
        let missing = || EmbeddedError::NoBinariesIn(dir.to_owned());
        let postgres = dir.join("postgres").canonicalize().map_err(|_| missing())?;
        let initdb = postgres.with_file_name("initdb");
        if !initdb.is_file() {
            return Err(missing());
        }
        match version(&postgres) {
            Some((major, version)) if major < MIN_SERVER_VERSION => {
                Err(EmbeddedError::TooOld { version, postgres })
            }
            // A server without a readable version reports its own error when it starts.
            _ => Ok(Self { initdb, postgres }),
        }
    }
}

/// Returns the major and the full version from, for instance, `postgres (PostgreSQL) 17.2 (Debian 17.2-1)`.
fn version(postgres: &Path) -> Option<(u32, String)> {
    let output = Command::new(postgres).arg("--version").output().ok()?.stdout;
    let output = String::from_utf8(output).ok()?;
    let version = output.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, version.to_owned()))
}

/// Returns the `bin` folders under `root`, the highest version first (16 before 9.6).
fn newest_first(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut versions: Vec<(Vec<u32>, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.split('.').map(|part| part.parse().ok());
            Some((version.collect::<Option<_>>()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

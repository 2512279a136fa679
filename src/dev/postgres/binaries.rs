//! Finds the binaries of a PostgreSQL server.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;
use crate::store::MIN_SERVER_VERSION;

/// Names the folder of `postgres` and `initdb`, for a server that is installed in an unusual place.
pub const ENV_BIN_DIR: &str = "BDAY_PG_BIN";

/// Where Debian puts its servers, a folder a major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The two programs that are needed, of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Makes a data directory.
    pub initdb: PathBuf,
    /// The server.
    pub postgres: PathBuf,
}

impl Binaries {
    /// The folder named by `BDAY_PG_BIN`, else the newest version under `/usr/lib/postgresql`, else what PATH has. What is
    /// too old is passed over.
    ///
    /// # Errors
    ///
    /// Where there is none, or none that is new enough; says what to install. A folder that was named is not silently
    /// passed over.
    pub fn find() -> Result<Self, EmbeddedError> {
        if let Some(dir) = std::env::var_os(ENV_BIN_DIR).filter(|dir| !dir.is_empty()) {
            return Self::within(Path::new(&dir));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut refused = EmbeddedError::NotInstalled;
        for dir in newest_first(Path::new(DEBIAN)).into_iter().chain(std::env::split_paths(&path)) {
            match Self::within(&dir) {
                Err(error @ EmbeddedError::TooOld { .. }) => refused = error,
                Err(_) => {}
                found => return found,
            }
        }
        Err(refused)
    }

    /// The binaries in `dir`. Distributions link only some of them into PATH, so links are followed first.
    ///
    /// # Errors
    ///
    /// Where one of the two is missing, or they are too old.
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
            // One that does not say its version says when it is started what is wrong with it.
            _ => Ok(Self { initdb, postgres }),
        }
    }
}

/// The major version of a server, and all of it: `postgres (PostgreSQL) 17.2 (Debian 17.2-1)`.
fn version(postgres: &Path) -> Option<(u32, String)> {
    let said = Command::new(postgres).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let version = said.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, version.to_owned()))
}

/// The `bin` folders under `root`, the highest version first (16 before 9.6).
fn newest_first(root: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(Vec<u32>, PathBuf)> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version: Option<Vec<u32>> =
                entry.file_name().to_str()?.split('.').map(|part| part.parse().ok()).collect();
            Some((version?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

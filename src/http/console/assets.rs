//! Static files, named by their hash, so that browsers keep them for a year.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: [Asset; 5] = [
    Asset {
        name: "console.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("assets/console.css"),
    },
    Asset { name: "forms.js", content_type: JAVASCRIPT, text: include_str!("assets/forms.js") },
    Asset { name: "icon.svg", content_type: "image/svg+xml", text: include_str!("assets/icon.svg") },
    Asset { name: "keys.js", content_type: JAVASCRIPT, text: include_str!("assets/keys.js") },
    Asset { name: "live.js", content_type: JAVASCRIPT, text: include_str!("assets/live.js") },
];

/// The file name with its hash, by name.
static HASHED: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    let hashed = |asset: &Asset| {
        let digest = Sha256::digest(asset.text.as_bytes());
        let hash = digest.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
        let (stem, extension) = asset.name.rsplit_once('.').unwrap_or((asset.name, ""));
        (asset.name, format!("{stem}.{hash:016x}.{extension}"))
    };
    ASSETS.iter().map(hashed).collect()
});

/// Returns the path of the asset `name`.
pub(super) fn path(name: &str) -> String {
    format!("/assets/{}", HASHED.get(name).map_or(name, String::as_str))
}

pub(super) async fn get(Path(file): Path<String>) -> Response {
    let found = ASSETS.iter().find(|asset| HASHED.get(asset.name) == Some(&file));
    let Some(asset) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.text).into_response()
}

//! The images of `packaging/docker`, built as their Dockerfiles say.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::skip;
use crate::engine::Engine;
use crate::image::Root;

/// The gateway's image that the packaging is made for.
const GATEWAY: &str = "ghcr.io/openclaw/openclaw:2026.5.22";
/// The image of the programs alone.
pub const SEXTON: &str = "sexton:0.1.0";

/// As little as a container can be allowed: what compose.yaml and the pod of packaging/kubernetes have.
pub const HARDENED: [&str; 11] = [
    "--user",
    "1000:1000",
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--pids-limit",
    "1024",
    "--tmpfs",
    "/run/sexton:mode=0700,uid=1000,gid=1000",
];

pub fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// Builds the image of the static programs. `None`, after a line that says so, if there are none.
pub fn sexton_image(engine: &Engine) -> Option<()> {
    let dist = Path::new(env!("CARGO_BIN_EXE_sexton")).ancestors().nth(2).unwrap().join("dist");
    if !dist.join("sexton").is_file() {
        skip("the static programs", "packaging/build-release --fast");
        return None;
    }
    // The build's own files are there as well, and would all be sent to the engine.
    let context = tempfile::tempdir().unwrap();
    for name in ["sexton", "sexton-watch"] {
        fs::copy(dist.join(name), context.path().join(name)).unwrap();
    }
    engine.builds(SEXTON, &packaging("docker/Dockerfile"), context.path(), &[]);
    Some(())
}

/// Takes `root` in as the gateway's image that is known to the packaging, and puts sexton above it.
pub fn gateway_image(engine: &Engine, root: &Root) {
    for tool in ["chown", "ln"] {
        root.tool(tool);
    }
    for directory in ["app", "home/node", "run"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    engine.image(GATEWAY, root, &["WORKDIR /app", r#"ENTRYPOINT ["tini", "-s", "--"]"#]);
    engine.builds("sexton-gateway", &packaging("docker/gateway.Dockerfile"), &packaging("docker"), &[]);
}

//! What the README says of Docker is what is seen.

use std::fs;
use std::process::Command;

use crate::common::console::{blocks, commands, fits};
use crate::common::{sexton, wait_until};
use crate::engine::Engine;
use crate::image::Root;

#[test]
fn what_the_readme_says_of_docker_is_seen() {
    let Some(engine) = Engine::start() else { return };
    let readme = include_str!("../../README.md");
    let of = |language: &str, word: &str| {
        blocks(readme, language).into_iter().find(|block| block.contains(word)).expect("the README has it")
    };
    let root = Root::without_sexton();
    // The libraries that it is linked with here; what is shipped is static.
    root.program(&sexton(), "usr/libexec/unused");
    let gateway = "setsid sleep 1000 &\ntrap exit TERM\necho listening\nwhile :; do sleep 0.1; done\n";
    root.script("usr/bin/openclaw", &format!("#!/bin/bash\n{gateway}"));
    engine.image("base", &root, &[]);
    let context = tempfile::tempdir().unwrap();
    fs::create_dir_all(context.path().join("target/dist")).unwrap();
    fs::copy(sexton(), context.path().join("target/dist/sexton")).unwrap();
    let dockerfile = context.path().join("Dockerfile");
    fs::write(&dockerfile, format!("FROM base\n{}", of("dockerfile", "ENTRYPOINT"))).unwrap();
    engine.builds("gateway", &dockerfile, context.path(), &[]);

    for one in commands(&of("text", "$ docker run")) {
        // The bed's engine has no network to give.
        let line = one.command.replace("docker run", "docker run --network none");
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1; {line}")])
            .env("DOCKER_HOST", engine.host())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let seen: Vec<&str> = said.lines().collect();
        assert!(fits(&one.lines, &seen), "{}: {said}", one.command);
        if one.command.contains("docker run") {
            wait_until("it listens", || engine.does(["logs", "gateway"]).contains("listening"));
        }
    }
}

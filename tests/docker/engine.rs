//! A Docker engine of the test's own, and what is said to it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::cgroup;
use crate::common::{PATIENCE, root, sexton, skip, wait_until};
use crate::image::Root;

/// What came of one `docker` command.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The engine; it ends with this value, and so does every container in it.
pub struct Engine {
    /// Where the engine's own cgroups are.
    cgroups: PathBuf,
    bed: std::process::Child,
    /// The engine lives until this is closed.
    line: Option<ChildStdin>,
    dir: TempDir,
}

impl Engine {
    /// Starts one whose `docker run --init` means sexton. `None`, after a line that says so, where no engine can
    /// be had; one that is installed and does not come up is a failure.
    pub fn start() -> Option<Engine> {
        Engine::with("2", cgroup::v2_mount().unwrap_or_default())
    }

    /// The same with cgroups of version 1. A machine has one version or the other, and nothing that could be installed
    /// changes that: without them there is a line that says so, and no failure.
    pub fn start_v1() -> Option<Engine> {
        let Some(pids) = cgroup::v1_mount("pids") else {
            eprintln!("SKIPPED: this machine has no cgroups of version 1");
            return None;
        };
        Engine::with("1", pids)
    }

    /// The same with what the machine itself mounts, so that a limit on processes is one.
    pub fn start_with_limits() -> Option<Engine> {
        if cgroup::v1_mount("pids").is_some() { Engine::start_v1() } else { Engine::start() }
    }

    fn with(version: &str, mount: PathBuf) -> Option<Engine> {
        let installed = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
        if !installed("dockerd") || !installed("docker") {
            skip("a Docker engine", "apt-get install docker.io");
            return None;
        }
        if !root() {
            skip("root", "a Docker engine is started");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let init = dir.path().join("docker-init");
        symlink(sexton(), &init).unwrap();
        let log = File::create(dir.path().join("bed.log")).unwrap();
        let mut bed = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbeds/docker"))
            .arg(dir.path())
            .arg(format!("--init-path={}", init.display()))
            .env("SEXTON_BED_CGROUPS", version)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let line = bed.stdin.take();
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let cgroups = mount.join(format!("sexton-bed-{name}"));
        let mut engine = Engine { cgroups, bed, line, dir };
        wait_until("the engine answers", || {
            let ended = engine.bed.try_wait().unwrap();
            assert!(ended.is_none(), "the engine does not start: {}", engine.log());
            engine.docker(["version"]).code == 0
        });
        Some(engine)
    }

    fn log(&self) -> String {
        ["bed.log", "engine.log"]
            .map(|name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }

    /// What `DOCKER_HOST` has to be.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    fn command<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).stdin(Stdio::null());
        for word in words {
            command.arg(word.as_ref());
        }
        command
    }

    /// `docker WORDS`.
    pub fn docker<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Said {
        let output = self.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// `docker WORDS`, which must succeed; its output.
    #[track_caller]
    pub fn does<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let said = self.docker(words);
        assert_eq!(said.code, 0, "{said:?}");
        said.out.trim().to_owned()
    }

    /// Makes the image NAME of `root`; `changes` are lines of a Dockerfile, such as `ENTRYPOINT ["tini", "--"]`.
    pub fn image(&self, name: &str, root: &Root, changes: &[&str]) {
        let mut tar = Command::new("tar");
        tar.arg("--directory").arg(root.path()).args(["--create", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        let mut import = self.command(["import"]);
        for change in changes {
            import.args(["--change", change]);
        }
        let output = import.args(["-", name]).stdin(tar.stdout.take().unwrap()).output().unwrap();
        assert!(tar.wait().unwrap().success() && output.status.success(), "{output:?}");
    }

    /// `docker build` of this Dockerfile: the engine's own builder, which needs no plug-in and no network.
    pub fn builds(&self, name: &str, dockerfile: &Path, context: &Path, arguments: &[&str]) {
        let mut command = self.command(["build", "--quiet", "--network", "none", "--tag", name, "--file"]);
        command.arg(dockerfile).env("DOCKER_BUILDKIT", "0");
        for argument in arguments {
            command.args(["--build-arg", argument]);
        }
        let output = command.arg(context).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// `docker run --detach --network none WORDS`.
    #[track_caller]
    pub fn runs<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Container<'_> {
        self.starts("none", words)
    }

    /// The same with another network.
    #[track_caller]
    pub fn starts<S: AsRef<str>>(&self, network: &str, words: impl IntoIterator<Item = S>) -> Container<'_> {
        let mut line: Vec<String> = ["run", "--detach", "--network", network].map(str::to_owned).into();
        line.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.container(&self.does(line))
    }

    /// One that was started elsewhere.
    pub fn container(&self, id: &str) -> Container<'_> {
        Container { engine: self, id: id.to_owned() }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.line = None;
        let end = Instant::now() + 2 * PATIENCE;
        while matches!(self.bed.try_wait(), Ok(None)) && Instant::now() < end {
            sleep(Duration::from_millis(10));
        }
        // Its namespace's init goes with it, and with that everything in it.
        let _ = self.bed.kill();
        let _ = self.bed.wait();
    }
}

/// A container that was started in the background.
pub struct Container<'a> {
    engine: &'a Engine,
    pub id: String,
}

impl Container<'_> {
    /// `docker VERB ID` with more words between them.
    #[track_caller]
    pub fn does(&self, words: &[&str]) -> String {
        self.engine.does(words.iter().copied().chain([self.id.as_str()]))
    }

    /// What it has written so far, on both streams.
    pub fn says(&self) -> String {
        let said = self.engine.docker(["logs", &self.id]);
        said.out + &said.err
    }

    /// Waits until it has written `line`.
    #[track_caller]
    pub fn waits_for(&self, line: &str) {
        wait_until(&format!("the container says {line:?}; it said {:?}", self.says()), || {
            self.says().lines().any(|said| said == line)
        });
    }

    /// Waits for its end, and gives its exit code.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.does(&["wait"]).parse().unwrap()
    }

    /// The processes in its cgroup, by their pids out here. None is as good as no cgroup: the engine removes it.
    pub fn processes(&self) -> Vec<i32> {
        let file = self.engine.cgroups.join(&self.id).join("cgroup.procs");
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// `docker exec ID WORDS`.
    pub fn exec(&self, words: &[&str]) -> Said {
        self.engine.docker(["exec", &self.id].iter().chain(words))
    }

    /// `docker inspect --format FORMAT`.
    #[track_caller]
    pub fn shows(&self, format: &str) -> String {
        self.does(&["inspect", "--format", format])
    }
}

/// An error that names the file.
pub fn at<T>(path: &Path, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

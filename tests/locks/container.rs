//! A container on a house: a pid namespace with a script in it.

#![allow(dead_code, reason = "each test program uses its part of it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::house::{House, in_a_namespace, kill_namespace};

/// Has sexton look by the deaths of orphans, within half a minute, until it has marked this many locks.
pub const UNTIL_MARKED: &str = r#"
    until_marked() {
        for look in $(seq 300); do
            [ "$(grep -o '"lock"' .sexton.marks 2>/dev/null | wc -l)" = $1 ] && return
            (setsid true &); sleep 0.1
        done
        echo "there are other marks: $(cat .sexton.marks)"; exit 1
    }
"#;

/// A container: PID 1 of a pid namespace and whatever it has started. It ends with its input, or is killed.
pub struct Container {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Container {
    /// Runs a script in the house, below sexton if its options are given, else by itself. It goes on when it says "up".
    pub fn start(house: &House, sexton: Option<&[&str]>, script: &str) -> Container {
        let root = house.path("").into_os_string().into_string().unwrap();
        let program = [env!("CARGO_BIN_EXE_sexton")];
        let root = ["--lock-root", &root, "--"];
        let init = sexton.map(|options| [&program, options, &root].concat()).unwrap_or_default();
        let init: Vec<String> = init.into_iter().map(str::to_owned).collect();
        Container::below(house, &init, script)
    }

    /// The same below any init, with its own words.
    pub fn below(house: &House, init: &[String], script: &str) -> Container {
        for directory in ["plugin-runtime-deps/.openclaw-runtime-deps.lock", "run"] {
            fs::create_dir_all(house.path(directory)).unwrap();
        }
        let mut command = in_a_namespace();
        command.args(init);
        let script = format!("cd \"$1\"; {UNTIL_MARKED}\n{script}");
        command
            .args(["sh", "-c", &script, "sh"])
            .arg(house.path(""))
            .env("SEXTON", env!("CARGO_BIN_EXE_sexton"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut container = Container { input: child.stdin.take(), child, output };
        container.says("up");
        container
    }

    /// Waits until it says this.
    fn says(&mut self, word: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Lets it go on to its end, and gives its exit code.
    pub fn ends(mut self) -> Option<i32> {
        self.input = None;
        self.child.wait().unwrap().code()
    }

    /// As `docker kill` does it.
    pub fn kill(mut self) {
        kill_namespace(&mut self.child);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

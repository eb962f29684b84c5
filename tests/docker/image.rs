//! What is in an image: files of this machine, so that no registry is needed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::common::{helper, sexton};
use crate::engine::at;

/// The tree of an image that is being made.
pub struct Root(TempDir);

/// What the images' scripts need.
const TOOLS: [&str; 12] =
    ["bash", "cat", "env", "grep", "id", "kill", "mkdir", "setsid", "sh", "sleep", "stty", "true"];

impl Root {
    /// As small a system as will do, laid out as Debian's is: shells, a few tools, the libraries that they are
    /// linked with; sexton; and `serve`, which prints each signal that it gets and ends with 3 at TERM or QUIT.
    pub fn new() -> Root {
        let root = Root::without_sexton();
        root.program(&sexton(), "usr/bin/sexton");
        root
    }

    /// The same for an image that sexton must still be put into.
    pub fn without_sexton() -> Root {
        let root = Root(tempfile::tempdir().unwrap());
        for directory in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "proc", "sys", "dev", "tmp"] {
            at(root.path(), fs::create_dir_all(root.path().join(directory)));
        }
        at(root.path(), fs::set_permissions(root.path().join("tmp"), fs::Permissions::from_mode(0o1777)));
        for name in ["bin", "sbin", "lib", "lib64"] {
            at(root.path(), symlink(format!("usr/{name}"), root.path().join(name)));
        }
        root.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
        root.text("etc/group", "root:x:0:\nnogroup:x:65534:\n");
        for tool in TOOLS {
            root.tool(tool);
        }
        root.program(Path::new(&helper("prints_signals")), "usr/bin/prints_signals");
        root.program(Path::new(&helper("leaves_behind")), "usr/bin/leaves_behind");
        root.script("usr/bin/serve", "#!/bin/sh\nexec prints_signals ${LAST:-15} 3\n");
        // In the manner of the images that people know: the first word may be an option or a short name.
        root.script(
            "docker-entrypoint.sh",
            "#!/bin/sh\nset -e\nif [ \"${1#-}\" != \"$1\" ]; then\n  set -- serve \"$@\"\nfi\nexec \"$@\"\n",
        );
        root
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts the machine's program there, with the libraries that it is linked with.
    pub fn program(&self, from: &Path, to: &str) {
        self.copy(from, to);
        self.libraries(from);
    }

    /// The libraries that the machine's program is linked with.
    pub fn libraries(&self, from: &Path) {
        let output = Command::new("ldd").arg(from).output().unwrap();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)" or "/lib64/ld-linux-x86-64.so.2 (0x...)".
            let place = line.rsplit("=> ").next().and_then(|rest| rest.split_whitespace().next());
            if let Some(library) = place.filter(|place| place.starts_with('/')) {
                self.copy(Path::new(library), library.trim_start_matches('/'));
            }
        }
    }

    /// One of the machine's tools, by its name.
    pub fn tool(&self, name: &str) {
        self.program(&which(name), &format!("usr/bin/{name}"));
    }

    fn copy(&self, from: &Path, to: &str) {
        let to = self.path().join(to);
        at(&to, fs::create_dir_all(to.parent().unwrap()));
        if !to.exists() {
            at(from, fs::copy(from, &to));
        }
    }

    /// A link, as `ln -s FILE NAME` makes it.
    pub fn link(&self, file: &str, name: &str) {
        at(self.path(), symlink(file, self.path().join(name)));
    }

    pub fn text(&self, name: &str, text: &str) {
        at(self.path(), fs::write(self.path().join(name), text));
    }

    pub fn script(&self, name: &str, text: &str) {
        self.text(name, text);
        let executable = fs::Permissions::from_mode(0o755);
        at(self.path(), fs::set_permissions(self.path().join(name), executable));
    }
}

/// Where this machine has the program.
fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
    places.find(|place| place.is_file()).unwrap_or_else(|| panic!("{name} is not installed"))
}

//! Where a test lives: a folder of its own, the build under test, and GStreamer with a registry of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A temporary folder, gone with the value unless `KEEP_SANDBOX` is set, and the programs of this build.
pub struct Sandbox {
    folder: TempDir,
    build: PathBuf,
}

impl Sandbox {
    /// Makes the folder and finds the build that the test belongs to.
    ///
    /// # Errors
    /// When program or plugin have not been built (`cargo build --workspace`).
    pub fn new() -> Result<Self> {
        // target/<profile>/deps/<test>
        let test = std::env::current_exe()?;
        let build = test.ancestors().nth(2).context("the test runs from no target folder")?.to_owned();
        for file in ["libgstsiprec.so", "siprec"] {
            let path = build.join(file);
            ensure!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
        }
        let mut folder = tempfile::Builder::new().prefix("siprec-test-").tempdir()?;
        folder.disable_cleanup(std::env::var_os("KEEP_SANDBOX").is_some());
        Ok(Self { folder, build })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// The repository's root.
    pub fn source(&self) -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    /// The folder that holds the plugin and the program of this build.
    pub fn build(&self) -> &Path {
        &self.build
    }

    /// The program `siprec` of this build.
    pub fn siprec(&self) -> Command {
        self.command(self.build.join("siprec"))
    }

    /// `gst-launch-1.0` that knows the plugin of this build and prints every message of the bus.
    pub fn gst_launch(&self, pipeline: &str) -> Command {
        let mut command = self.command("gst-launch-1.0");
        command.args(["--messages", "--no-position"]).args(pipeline.split_whitespace());
        command
    }

    /// Any program, run in the sandbox: in its folder, with the plugin of this build, and with its own registry.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env("GST_PLUGIN_PATH", &self.build)
            .env("GST_REGISTRY", self.join("registry.bin"))
            .env("GST_DEBUG_NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8");
        command
    }
}

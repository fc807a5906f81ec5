//! What ships is checked as installed: by meson into a fresh prefix, loaded with a fresh registry.
//!
//! `UPDATE_GOLDEN=1` rewrites the files in `tests/golden` that `gst-inspect-1.0` is compared with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::process::run;
use siprec_system_tests::sandbox::Sandbox;

const ELEMENTS: &[&str] = &["siprec", "siprectee", "siprecudpsrc", "siprecudpsink"];

#[test]
fn meson_installs_a_plugin_and_a_program_that_work() {
    let sandbox = Sandbox::new().unwrap();
    let prefix = install(&sandbox).unwrap();
    let plugin = find(&prefix, "libgstsiprec.so").unwrap();
    assert!(plugin.parent().unwrap().ends_with("gstreamer-1.0"), "{}", plugin.display());

    for element in ELEMENTS {
        let inspected = inspect(&sandbox, &plugin, element).unwrap();
        assert!(inspected.contains(plugin.to_str().unwrap()), "another plugin was loaded:\n{inspected}");
        compare(&sandbox, element, &stable_part(&inspected)).unwrap();
    }

    let program = prefix.join("bin/siprec");
    let mut command = Command::new(&program);
    let (status, printed) =
        run(&sandbox, "version", command.arg("--version"), Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{printed}");
    assert_eq!(printed.trim(), format!("siprec {}", env!("CARGO_PKG_VERSION")));
}

fn install(sandbox: &Sandbox) -> Result<PathBuf> {
    let prefix = sandbox.join("prefix");
    let build = sandbox.join("build");
    let mut setup = Command::new("meson");
    setup.arg("setup").arg("--buildtype=debug").arg(format!("--prefix={}", prefix.display()));
    setup.arg(&build).arg(sandbox.source());
    let (status, printed) = run(sandbox, "meson-setup", &mut setup, Duration::from_secs(60))?;
    ensure!(status.success(), "{printed}");

    let mut install = Command::new("meson");
    install.arg("install").arg("-C").arg(&build);
    // Kept between runs, and apart from the build that the other tests are running from.
    install.env("CARGO_TARGET_DIR", sandbox.build().parent().context("no target folder")?.join("meson"));
    let (status, printed) = run(sandbox, "meson-install", &mut install, Duration::from_secs(900))?;
    ensure!(status.success(), "{printed}");
    Ok(prefix)
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    folder
        .read_dir()
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find_map(|path| if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) })
}

fn inspect(sandbox: &Sandbox, plugin: &Path, element: &str) -> Result<String> {
    let mut command = Command::new("gst-inspect-1.0");
    command
        .args(["--no-colors", element])
        .env("GST_PLUGIN_PATH", plugin.parent().context("the plugin has no folder")?)
        .env("GST_REGISTRY", sandbox.join("installed-registry.bin"))
        .env("LC_ALL", "C.UTF-8");
    let (status, printed) = run(sandbox, "gst-inspect", &mut command, Duration::from_secs(60))?;
    ensure!(status.success(), "gst-inspect-1.0 {element}:\n{printed}");
    ensure!(!printed.contains("CRITICAL") && !printed.contains("WARNING"), "{printed}");
    Ok(printed)
}

/// Without what changes from build to build: plugin details, and the name of the inspected instance.
fn stable_part(inspected: &str) -> String {
    let details = inspected.lines().skip_while(|line| !line.starts_with("GObject"));
    let stable = details.filter(|line| !line.contains("String. Default: \"siprec"));
    stable.map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

fn compare(sandbox: &Sandbox, element: &str, found: &str) -> Result<()> {
    let golden = sandbox.source().join(format!("tests/golden/{element}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden.parent().context("no folder")?)?;
        std::fs::write(&golden, found)?;
    }
    let wanted = std::fs::read_to_string(&golden).with_context(|| format!("{}", golden.display()))?;
    let mut lines = wanted.lines().zip(found.lines()).enumerate();
    if let Some((index, (wanted, found))) = lines.find(|(_, (wanted, found))| wanted != found) {
        anyhow::bail!(
            "{element} differs from {} in line {}:\n- {wanted}\n+ {found}",
            golden.display(),
            index + 1
        );
    }
    ensure!(wanted == found, "{element} and {} differ in length", golden.display());
    Ok(())
}

//! Certificates made by `openssl`, valid for a day.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::process::run;
use crate::sandbox::Sandbox;

/// An authority whose files are in the sandbox.
pub struct Authority<'s> {
    sandbox: &'s Sandbox,
    name: &'static str,
}

/// Files of a certificate and its key, in PEM.
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl<'s> Authority<'s> {
    /// Makes one.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn new(sandbox: &'s Sandbox, name: &'static str) -> Result<Self> {
        let authority = Self { sandbox, name };
        authority.make(name, &[])?;
        Ok(authority)
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.sandbox.join(format!("{}.pem", self.name))
    }

    /// Signs a certificate for `names`, as openssl writes them in subjectAltName (`IP:127.0.0.1,DNS:rec.test`). The files
    /// of one of that name that was made before are replaced.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn sign(&self, name: &str, names: &str) -> Result<Certificate> {
        let (certificate, key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let names = format!("subjectAltName={names}");
        let signed_by = ["-CA", &certificate, "-CAkey", &key, "-addext", &names];
        self.make(name, &[&signed_by[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat())
    }

    fn make(&self, name: &str, further: &[&str]) -> Result<Certificate> {
        let files = Certificate {
            certificate: self.sandbox.join(format!("{name}.pem")),
            key: self.sandbox.join(format!("{name}.key")),
        };
        let mut command = self.sandbox.command("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        command.args(["-days", "1", "-subj", &format!("/CN={name}"), "-keyout"]).arg(&files.key);
        command.arg("-out").arg(&files.certificate).args(further);
        let (status, printed) =
            run(self.sandbox, &format!("openssl-{name}"), &mut command, Duration::from_secs(30))?;
        ensure!(status.success(), "openssl: {printed}");
        Ok(files)
    }
}

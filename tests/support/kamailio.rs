//! Kamailio as the proxy between the recording client and its recorder.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::net::{free_tcp_port, free_udp_port, local, wait_for_udp};
use crate::pki::Certificate;
use crate::process::{Process, wait_until};
use crate::sandbox::Sandbox;

/// How long it may take to come and to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// The user whom it believes.
pub const USER: &str = "ada";
/// The password that it wants of any user.
pub const PASSWORD: &str = "correct horse";
/// The realm that it asks for.
pub const REALM: &str = "recorder.test";

/// How it asks for a password.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// `www` (401) or `proxy` (407).
    pub who: &'static str,
    /// `MD5` or `SHA-256`.
    pub algorithm: &'static str,
    /// How long a nonce lives, in seconds.
    pub lifetime: u32,
}

/// What it does.
#[derive(Clone, Copy, Default)]
pub struct Plan<'a> {
    /// Whether, and how, it asks the client for a password.
    pub asking: Option<Asking>,
    /// Its certificate, for TLS on the client's side.
    pub tls: Option<&'a Certificate>,
    /// Whether it leaves `lr` out of its Record-Route.
    pub strict: bool,
}

/// A running proxy. Dropping it ends it with its children.
pub struct Kamailio {
    process: Process,
    udp: u16,
    tcp: u16,
    tls: u16,
}

impl Kamailio {
    /// Starts it before a recorder at this UDP port of 127.0.0.1.
    ///
    /// # Errors
    /// When it does not listen within its time.
    pub fn start(sandbox: &Sandbox, recorder: u16, plan: Plan<'_>) -> Result<Self> {
        let (udp, tcp, tls) = (free_udp_port()?, free_tcp_port()?, free_tcp_port()?);
        let template = sandbox.source().join("tests/kamailio/proxy.cfg");
        let mut text = std::fs::read_to_string(&template)?;
        let asking = plan.asking.unwrap_or(Asking { who: "proxy", algorithm: "MD5", lifetime: 300 });
        for (word, value) in [
            ("@udp@", udp.to_string()),
            ("@tcp@", tcp.to_string()),
            ("@tls@", tls.to_string()),
            ("@folder@", sandbox.path().display().to_string()),
            ("@algorithm@", asking.algorithm.to_owned()),
            ("@lifetime@", asking.lifetime.to_string()),
            ("@who@", asking.who.to_owned()),
            ("@recorder@", recorder.to_string()),
        ] {
            text = text.replace(word, &value);
        }
        let file = sandbox.join("kamailio.cfg");
        std::fs::write(&file, text)?;

        let mut command: Command = sandbox.command("kamailio");
        command.arg("-f").arg(&file).args(["-DD", "-E", "-m", "32", "-M", "4", "-Y"]).arg(sandbox.path());
        for (wanted, name) in [
            (plan.asking.is_some(), "WITH_AUTH"),
            (plan.tls.is_some(), "WITH_TLS"),
            (plan.strict, "WITH_STRICT"),
        ] {
            if wanted {
                command.args(["-A", name]);
            }
        }
        if let Some(certificate) = plan.tls {
            let text = format!(
                "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\n\
                 private_key = {}\ncertificate = {}\n",
                certificate.key.display(),
                certificate.certificate.display()
            );
            std::fs::write(sandbox.join("tls.cfg"), text)?;
        }
        let process = Process::start(sandbox, "kamailio", &mut command)?;
        let kamailio = Self { process, udp, tcp, tls };
        wait_for_udp(udp, PATIENCE).with_context(|| kamailio.said())?;
        wait_until("Kamailio takes connections", PATIENCE, || {
            Ok(TcpStream::connect(local(tcp)).is_ok().then_some(()))
        })
        .with_context(|| kamailio.said())?;
        Ok(kamailio)
    }

    /// Its SIP URI for UDP.
    pub fn udp(&self) -> String {
        format!("sip:127.0.0.1:{};transport=udp", self.udp)
    }

    /// Its SIP URI for TCP.
    pub fn tcp(&self) -> String {
        format!("sip:127.0.0.1:{};transport=tcp", self.tcp)
    }

    /// Its SIP URI for TLS.
    pub fn tls(&self) -> String {
        format!("sip:127.0.0.1:{};transport=tls", self.tls)
    }

    /// What it logged.
    pub fn said(&self) -> String {
        self.process.output()
    }

    /// How many of its lines hold this.
    pub fn count(&self, what: &str) -> usize {
        self.said().lines().filter(|line| line.contains(what)).count()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // It ends its children when it is asked to end; killed, it would leave them behind.
        let _ = self.process.signal("TERM");
        let _ = self.process.wait(PATIENCE);
    }
}

//! The program `openssl` as the other side.

use std::net::SocketAddr;
use std::process::Stdio;

use siprec_transport::TlsIdentity;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::DEADLINE;

/// `openssl s_server` or `s_client`, killed when dropped.
pub(crate) struct OpenSsl {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where a server listens.
    pub(crate) address: SocketAddr,
    _child: Child,
}

impl OpenSsl {
    /// A server that shows a certificate.
    pub(crate) async fn server(identity: &TlsIdentity, options: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert"]).arg(&identity.certificate);
        command.arg("-key").arg(&identity.key).args(options);
        let mut server = Self::start(command);
        let line = server.line_with("ACCEPT").await;
        server.address = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        server
    }

    /// A client that goes on until it is dropped.
    pub(crate) fn client(remote: SocketAddr, options: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &remote.to_string(), "-nocommands", "-ign_eof"]);
        command.args(options);
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let address = ([127, 0, 0, 1], 0).into();
        Self { input, output: BufReader::new(output), address, _child: child }
    }

    /// Reads on to the next line that has `wanted` in it.
    pub(crate) async fn line_with(&mut self, wanted: &str) -> String {
        self.lines_to(wanted).await.pop().unwrap()
    }

    /// The lines from here to the next one that has `wanted` in it.
    pub(crate) async fn lines_to(&mut self, wanted: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let mut line = Vec::new();
            let length = timeout(DEADLINE, self.output.read_until(b'\n', &mut line)).await;
            let length = length.unwrap_or_else(|_| panic!("no {wanted:?} in time after {seen:#?}")).unwrap();
            assert!(length > 0, "openssl ended without {wanted:?} after {seen:#?}");
            seen.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            if seen.last().unwrap().contains(wanted) {
                return seen;
            }
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).await.unwrap();
        self.input.flush().await.unwrap();
    }
}

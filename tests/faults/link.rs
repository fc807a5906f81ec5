//! A real cable between client and recorder, that is cut and put together again.

use std::process::{Child, Command, Stdio};

use anyhow::Result;
use siprec_system_tests::process::wait_until;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;

use crate::Case;
use crate::baseline::Baseline;
use crate::cases::{run, uris};
use crate::row::Row;
use crate::scene::{PATIENCE, Plan, Scene, Station};

pub(crate) const CASES: &[Case] = &[("cut", cut)];

const HERE: &str = "10.77.0.1/30";
const THERE: &str = "10.77.0.2";

/// A namespace of the network with one cable to it. Both are gone with the value, and with this process.
struct Link {
    holder: Child,
}

impl Link {
    fn lay() -> Result<Self> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let mut holder = Command::new("unshare");
        holder.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let link = Self { holder: holder.spawn()? };
        let id = link.holder.id();
        wait_until("a namespace of its own", PATIENCE, || {
            Ok((std::fs::read_link(format!("/proc/{id}/ns/net"))? != own).then_some(()))
        })?;
        ip(&format!("link add near type veth peer name far netns {id}"))?;
        ip(&format!("addr add {HERE} dev near"))?;
        ip("link set near up")?;
        link.there("link set lo up")?;
        link.there(&format!("addr add {THERE}/30 dev far"))?;
        link.there("link set far up")?;
        Ok(link)
    }

    fn namespace(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.holder.id())
    }

    fn there(&self, words: &str) -> Result<()> {
        run(Command::new("nsenter").arg(self.namespace()).arg("ip").args(words.split(' ')))
    }

    fn recorder(&self) -> Result<Station> {
        let sandbox = Sandbox::new()?;
        let program = ["nsenter", &self.namespace()];
        let recorder = Recorder::start_by(&sandbox, &program, &format!("{THERE}:5060"), &[])?;
        Ok(Station::new(sandbox, recorder))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The namespace goes with the last process in it, some time later: the next cable has the same name.
        let _ = ip("link del near");
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(words: &str) -> Result<()> {
    run(Command::new("ip").args(words.split(' ')))
}

/// A call whose recorder is behind a cable that nobody touches.
pub(crate) fn undisturbed(baseline: &mut Baseline) -> Result<()> {
    let link = Link::lay()?;
    baseline.play(uris(&[link.recorder()?, Station::open(&[])?]))
}

fn cut() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (length, seconds, recorders, fault) in [
        (1.0, 16, 2, "link cut (cable of the recorder), healed after 1 s"),
        (4.0, 20, 2, "link cut, healed after 4 s"),
        (4.0, 36, 1, "link cut, healed after 4 s, and there is no other recorder"),
        (20.0, 36, 2, "link cut, healed after 20 s"),
    ] {
        let link = Link::lay()?;
        let mut stations = vec![link.recorder()?];
        for _ in 1..recorders {
            stations.push(Station::open(&[])?);
        }
        let recorder = uris(&stations);
        let mut scene = Scene::begin(&Plan { recorder, seconds, ..Plan::default() })?;
        scene.wait(8.0);
        scene.inject();
        link.there("link set far down")?;
        scene.wait(8.0 + length);
        link.there("link set far up")?;
        rows.push(scene.finish()?.judged(fault, &mut stations)?);
    }
    Ok(rows)
}

//! Networks that lose, delay, repeat and reorder, and hosts that refuse media.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use siprec_system_tests::network::Network;
use siprec_system_tests::weather::Weather;

use crate::Case;
use crate::baseline::Baseline;
use crate::cases::two;
use crate::flood::Flood;
use crate::row::Row;
use crate::scene::{Plan, Scene};

pub(crate) const CASES: &[Case] = &[
    ("refused", refused),
    ("reports", reports),
    ("loss", loss),
    ("delay", delay),
    ("limits", limits),
    ("disorder", disorder),
    ("flood", flood),
];

/// A call whose recorders are behind networks to which nothing happens.
pub(crate) fn undisturbed(baseline: &mut Baseline) -> Result<()> {
    let stations = two(&[])?;
    let networks = stations.iter().map(|station| Network::before(station.recorder.address()));
    let networks = networks.collect::<Result<Vec<_>>>()?;
    baseline.play(format!("{} {}", networks[0].uri(), networks[1].uri()))
}

/// Both recorders behind networks with this weather for SIP and media.
fn weathered(signalling: Weather, media: Weather, seconds: usize, fault: &str) -> Result<Row> {
    let mut stations = two(&[])?;
    let mut networks = Vec::new();
    for station in &stations {
        let network = Network::before(station.recorder.address())?;
        network.signalling(signalling);
        network.media(media);
        networks.push(network);
    }
    let recorder = format!("{} {}", networks[0].uri(), networks[1].uri());
    let mut scene = Scene::begin(&Plan { recorder, seconds, ..Plan::default() })?;
    scene.inject();
    let played = scene.finish()?;
    let mut row = played.judged(fault, &mut stations)?;
    let lost: HashSet<Vec<u8>> = networks.iter().flat_map(Network::lost).collect();
    if !lost.is_empty() {
        let folders: Vec<_> = stations.iter().map(|station| station.recorder.folder()).collect();
        let verdict = played.verdict(&folders)?;
        let missing = verdict.missing.iter().zip(&played.heard.said);
        let payloads =
            missing.flat_map(|(missing, said)| missing.iter().map(|number| &said[*number].payload));
        let ours = payloads.filter(|payload| !lost.contains(*payload)).count();
        row.remark(&format!(
            "{} packets of RTP were lost on their way, {ours} others are missing",
            lost.len()
        ));
    }
    Ok(row)
}

fn loss() -> Result<Vec<Row>> {
    let weather = Weather { lost: 0.3, ..Weather::default() };
    Ok(vec![weathered(
        weather,
        weather,
        25,
        "30 % of SIP, RTP and RTCP lost on the way to and from the recorder",
    )?])
}

fn delay() -> Result<Vec<Row>> {
    let weather = Weather { delay: Duration::from_millis(500), ..Weather::default() };
    Ok(vec![weathered(weather, weather, 15, "500 ms delay each way, SIP, RTP and RTCP")?])
}

fn limits() -> Result<Vec<Row>> {
    let weather = Weather { delay: Duration::from_millis(900), ..Weather::default() };
    Ok(vec![weathered(
        weather,
        Weather::default(),
        15,
        "recorder slow: each SIP message takes 0.9 s, of 2 s there and back",
    )?])
}

fn disorder() -> Result<Vec<Row>> {
    let weather = Weather { overtaken: 0.2, repeated: 0.2, ..Weather::default() };
    Ok(vec![weathered(weather, weather, 15, "20 % of SIP, RTP and RTCP overtaken by 50 ms, 20 % twice")?])
}

/// A recorder behind a network that something happens to after 8 s, while SIP goes on.
fn changed(fault: &str, seconds: usize, change: impl FnOnce(&Network) -> Result<()>) -> Result<Row> {
    let mut stations = two(&[])?;
    let network = Network::before(stations[0].recorder.address())?;
    let recorder = format!("{} {}", network.uri(), stations[1].uri());
    let mut scene = Scene::begin(&Plan { recorder, seconds, ..Plan::default() })?;
    scene.wait(8.0);
    scene.inject();
    change(&network)?;
    scene.finish()?.judged(fault, &mut stations)
}

fn refused() -> Result<Vec<Row>> {
    let mut rows =
        vec![changed("recorder answers SIP, its host begins to refuse the media (ICMP)", 25, |network| {
            network.refuse_media();
            Ok(())
        })?];
    let mut stations = two(&[])?;
    let network = Network::before(stations[0].recorder.address())?;
    network.refuse_media();
    let recorder = format!("{} {}", network.uri(), stations[1].uri());
    let mut scene = Scene::begin(&Plan { recorder, seconds: 22, ..Plan::default() })?;
    scene.inject();
    rows.push(scene.finish()?.judged(
        "recorder accepts SIP, its host refuses the media from the first packet on",
        &mut stations,
    )?);
    Ok(rows)
}

fn reports() -> Result<Vec<Row>> {
    Ok(vec![changed("recorder answers SIP, goes deaf and its reports stop", 48, |network| {
        network.media(Weather::CUT);
        Ok(())
    })?])
}

fn flood() -> Result<Vec<Row>> {
    let mut sent = 0;
    let mut row = changed(
        "flood of forged ICMP errors for RTP, RTCP and SIP, the recorder takes all",
        24,
        |network| {
            sent = Flood::open()?.run(network, Duration::from_secs(6))?;
            Ok(())
        },
    )?;
    row.remark(&format!("{sent} of them in 6 s"));
    Ok(vec![row])
}

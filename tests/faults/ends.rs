//! The call ends in the middle of what a recording does: at every step of set-up and failover.

use anyhow::Result;

use crate::Case;
use crate::cases::{plan, two};
use crate::row::Row;
use crate::scene::{Scene, Station};

pub(crate) const CASES: &[Case] = &[("set-up", set_up), ("failover", failover)];

/// Longer than any of these calls.
const SECONDS: usize = 60;

/// A call that ends when `until` returns.
fn ended(
    mut stations: Vec<Station>,
    step: &str,
    until: impl FnOnce(&mut Scene, &mut [Station]) -> Result<()>,
) -> Result<Row> {
    let mut scene = Scene::begin(&plan(&stations, SECONDS))?;
    until(&mut scene, &mut stations)?;
    scene.hang_up()?.judged(&format!("the call ends {step}"), &mut stations)
}

fn set_up() -> Result<Vec<Row>> {
    let slow = ["--answer-after", "3"];
    let after = |seconds: f64| {
        move |scene: &mut Scene, _: &mut [Station]| {
            scene.wait(seconds);
            Ok(())
        }
    };
    Ok(vec![
        ended(two(&[])?, "after 0.2 s", after(0.2))?,
        ended(two(&slow)?, "before the recorder has answered", after(1.5))?,
        ended(two(&["--ring", "--answer-after", "3"])?, "while it rings at the recorder", after(1.5))?,
        ended(two(&slow)?, "as the recorder answers", |scene, _| scene.wait_for("started", 1))?,
        ended(two(&slow)?, "while what was held is delivered", |scene, _| {
            scene.wait_for("started", 1)?;
            scene.wait(4.0);
            Ok(())
        })?,
        ended(two(&["--refuse", "503"])?, "as the first recorder refuses", |scene, _| {
            scene.wait_for("failed", 1)
        })?,
    ])
}

fn failover() -> Result<Vec<Row>> {
    /// The first recorder is killed after 6 s, the call ends once these have been told so often.
    fn until(stations: Vec<Station>, step: &str, name: &str, times: usize) -> Result<Row> {
        ended(stations, step, |scene, stations| {
            scene.wait(6.0);
            scene.inject();
            stations[0].kill()?;
            scene.wait_for(name, times)
        })
    }
    let slow_reserve = || -> Result<Vec<Station>> {
        Ok(vec![Station::open(&[])?, Station::open(&["--answer-after", "3"])?])
    };
    Ok(vec![
        until(two(&[])?, "as the recorder is killed", "started", 1)?,
        until(two(&[])?, "while the recorder is suspected", "suspected", 1)?,
        until(slow_reserve()?, "as the recorder is given up", "failed", 1)?,
        until(slow_reserve()?, "as the next recorder answers", "started", 2)?,
        until(two(&[])?, "while the next recorder gets what the lost one may not have", "failed-over", 1)?,
    ])
}

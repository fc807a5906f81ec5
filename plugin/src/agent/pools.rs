//! The pools of recorders as applications see them.

use gst::glib;
use gst::prelude::*;
use siprec_agent::{PoolView, RecorderView};

/// A structure `pools` with one for each pool, by its name.
pub(super) fn structure(pools: &[PoolView]) -> gst::Structure {
    let mut structure = gst::Structure::new_empty("pools");
    for pool in pools {
        let recorders: Vec<glib::SendValue> =
            pool.recorders.iter().map(|recorder| self::recorder(recorder).to_send_value()).collect();
        let entry = gst::Structure::builder("pool")
            .field("strategy", pool.strategy.as_str())
            .field("location-policy", pool.location_policy.as_str())
            .field("recorders", gst::Array::from_values(recorders))
            .build();
        structure.set(pool.name.as_str(), entry);
    }
    structure
}

fn recorder(recorder: &RecorderView) -> gst::Structure {
    gst::Structure::builder("recorder")
        .field("uri", recorder.uri.as_str())
        .field("sessions", recorder.sessions)
        .field("chosen", recorder.chosen)
        .field("health", recorder.health.as_str())
        .field_if_some("away", recorder.away.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)))
        .field("weight", u32::from(recorder.weight))
        .field_if_some("capacity", recorder.capacity)
        .field_if_some("location", recorder.location.as_deref())
        .field("drained", recorder.drained)
        .build()
}

//! The call's own way through an element: a sink pad and the source pad of the same stream, which let everything
//! through as if they were one.

use std::sync::{Arc, OnceLock};

use gst::glib;
use gst::prelude::*;

/// How both ends of a passage answer: caps and allocation are asked of the other side.
pub(crate) const FLAGS: gst::PadFlags = gst::PadFlags::PROXY_CAPS.union(gst::PadFlags::PROXY_ALLOCATION);

/// The source end of the passage that begins at `sink`.
///
/// It holds its sink pad weakly, the sink pad holds it strongly: no cycle, and no weak lookup for each packet.
pub(crate) fn source_pad(template: &gst::PadTemplate, name: &str, sink: &gst::Pad) -> gst::Pad {
    let entry = sink.downgrade();
    gst::Pad::builder_from_template(template)
        .name(name)
        .flags(FLAGS)
        .iterate_internal_links_function(move |_, _| links(entry.upgrade()))
        .build()
}

/// The source end of a passage whose two pads live and die with their element, for which each has the other.
pub(crate) fn always_source(template: &gst::PadTemplate) -> gst::Pad {
    gst::Pad::builder_from_template(template)
        .flags(FLAGS)
        .iterate_internal_links_function(|_, parent| {
            let element = parent.and_then(|parent| parent.downcast_ref::<gst::Element>());
            links(element.and_then(|element| element.static_pad("sink")))
        })
        .build()
}

/// The internal links of one end: the other end, where it still exists.
pub(crate) fn links(other: Option<gst::Pad>) -> gst::Iterator<gst::Pad> {
    gst::Iterator::from_vec(other.into_iter().collect())
}

/// Answers a query at the sink end.
///
/// Caps are acceptable when whoever comes after takes them: the pad template is checked when pads are linked, but a
/// running call that changes to something we cannot record is not ours to stop.
pub(crate) fn sink_query(
    sink: &gst::Pad,
    source: &gst::Pad,
    parent: Option<&gst::Object>,
    query: &mut gst::QueryRef,
) -> bool {
    if let gst::QueryViewMut::AcceptCaps(accept) = query.view_mut() {
        let accepted = source.peer().is_none_or(|peer| peer.query_accept_caps(&accept.caps_owned()));
        accept.set_result(accepted);
        return true;
    }
    gst::Pad::query_default(sink, parent, query)
}

/// A passage that nothing is copied from.
pub(crate) fn plain(
    (sink_template, source_template): (&gst::PadTemplate, &gst::PadTemplate),
    (sink_name, source_name): (&str, &str),
) -> (gst::Pad, gst::Pad) {
    let entry = Arc::new(OnceLock::<glib::WeakRef<gst::Pad>>::new());
    let behind = entry.clone();
    let source = gst::Pad::builder_from_template(source_template)
        .name(source_name)
        .flags(FLAGS)
        .iterate_internal_links_function(move |_, _| links(behind.get().and_then(glib::WeakRef::upgrade)))
        .build();
    let (chain, list, query, link) = (source.clone(), source.clone(), source.clone(), source.clone());
    let sink = gst::Pad::builder_from_template(sink_template)
        .name(sink_name)
        .flags(FLAGS)
        .chain_function(move |_, _, buffer| chain.push(buffer))
        .chain_list_function(move |_, _, buffers| list.push_list(buffers))
        .query_function(move |pad, parent, asked| sink_query(pad, &query, parent, asked))
        .iterate_internal_links_function(move |_, _| links(Some(link.clone())))
        .build();
    let _ = entry.set(sink.downgrade());
    (sink, source)
}

//! The pages in `docs/` say of each property, signal and pad what the elements themselves say, and of nothing else.
#![cfg(test)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::init;
use gst::glib;
use gst::prelude::*;

/// A page's tables by their first column's heading: the rows, first cell without backquotes.
struct Page {
    name: &'static str,
    text: String,
    tables: Vec<(String, Vec<Vec<String>>)>,
}

impl Page {
    fn read(name: &'static str) -> Self {
        let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self::of(name, text)
    }

    /// What stands under this heading.
    fn section(&self, heading: &str) -> Self {
        let from = self.text.split(&format!("{heading}\n")).nth(1);
        let text = from.unwrap_or_else(|| panic!("{} has no {heading}", self.name)).split("\n## ").next();
        Self::of(self.name, text.unwrap().to_owned())
    }

    fn of(name: &'static str, text: String) -> Self {
        let mut tables: Vec<(String, Vec<Vec<String>>)> = Vec::new();
        let mut within = false;
        for line in text.lines() {
            let Some(row) = line.strip_prefix("| ").and_then(|line| line.strip_suffix('|')) else {
                within &= line.starts_with("|---");
                continue;
            };
            let cells: Vec<String> = row.split(" |").map(|cell| cell.trim().to_owned()).collect();
            match tables.last_mut().filter(|_| within) {
                Some((_, rows)) => rows.push(cells),
                None => tables.push((cells[0].clone(), Vec::new())),
            }
            within = true;
        }
        Self { name, text, tables }
    }

    /// The rows of the tables with this heading: the word in the first cell, and the second cell.
    fn rows(&self, heading: &str) -> BTreeMap<String, String> {
        let found = || self.tables.iter().filter(|(name, _)| name == heading);
        assert!(found().next().is_some(), "{} has no table of {heading}", self.name);
        let rows = found().flat_map(|(_, rows)| rows);
        let word = |cell: &str| cell.trim_start_matches('`').split(['`', '(']).next().unwrap().to_owned();
        rows.map(|cells| (word(&cells[0]), cells.get(1).cloned().unwrap_or_default())).collect()
    }

    /// Insists that the table of properties is that of the class.
    fn ensure_properties(&self, heading: &str, class: &[glib::ParamSpec]) {
        let told = self.rows(heading);
        let expected: BTreeMap<String, String> =
            class.iter().map(|spec| (spec.name().to_owned(), default(spec))).collect();
        assert_eq!(told, expected, "{}, {heading}", self.name);
    }

    /// Insists that the page names these signals, which the type has, and no others.
    fn ensure_signals(&self, kind: glib::Type, expected: &BTreeSet<String>) {
        let told: BTreeSet<String> = self.rows("signal").into_keys().collect();
        assert_eq!(told, *expected, "{}", self.name);
        for signal in &told {
            assert!(glib::subclass::SignalId::lookup(signal, kind).is_some(), "{}: {signal}", self.name);
        }
    }
}

/// A default value as the pages write it.
fn default(spec: &glib::ParamSpec) -> String {
    let value = spec.default_value();
    let name = spec.name();
    let is_time = ["-time", "-timeout", "-interval"].iter().any(|end| name.ends_with(end));
    if !spec.flags().contains(glib::ParamFlags::WRITABLE) {
        return "read only".to_owned();
    }
    if let Ok(number) = value.get::<u64>()
        && is_time
    {
        let milliseconds = number / 1_000_000;
        return match milliseconds % 1000 {
            0 => format!("{} s", milliseconds / 1000),
            _ => format!("{milliseconds} ms"),
        };
    }
    if let Ok(number) = value.get::<u32>()
        && name.ends_with("-bytes")
    {
        return if number >= 1 << 20 {
            format!("{} MiB", number >> 20)
        } else {
            format!("{} KiB", number >> 10)
        };
    }
    if let Ok(number) = value.get::<f32>() {
        return format!("{number:.1}");
    }
    if let Ok(set) = value.get::<bool>() {
        return format!("`{set}`");
    }
    if let Some((_, chosen)) = glib::EnumValue::from_value(value) {
        return format!("`{}`", chosen.nick());
    }
    if let Ok(text) = value.get::<Option<String>>() {
        let text = text.map(|text| text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
        return text.map_or("—".to_owned(), |text| format!("`{text}`"));
    }
    let number =
        value.get::<u32>().map(|n| n.to_string()).or_else(|_| value.get::<i32>().map(|n| n.to_string()));
    number.unwrap_or_else(|_| "—".to_owned())
}

/// The properties that a type itself has.
fn own(kind: glib::Type) -> Vec<glib::ParamSpec> {
    let class = glib::Class::<glib::Object>::from_type(kind).unwrap();
    class.list_properties().iter().filter(|spec| spec.owner_type() == kind).cloned().collect()
}

/// The list of `gst-inspect-1.0`, which another test holds to the element.
fn golden(element: &str) -> String {
    let path = format!("{}/../tests/golden/{element}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The signals that an element itself has.
fn signals(element: &str) -> BTreeSet<String> {
    let signal = |line: &str| Some(line.strip_prefix("  \"")?.split('"').next()?.to_owned());
    let is_own =
        |name: &String| glib::subclass::SignalId::lookup(name, gst::Element::static_type()).is_none();
    golden(element).lines().filter_map(signal).filter(is_own).collect()
}

fn kind(name: &str) -> glib::Type {
    init();
    for factory in ["siprec", "siprectee", "siprecudpsrc", "siprecudpsink"] {
        gst::ElementFactory::find(factory).unwrap().load().unwrap();
    }
    glib::Type::from_name(name).unwrap_or_else(|| panic!("no type {name}"))
}

#[test]
fn the_page_of_siprec_is_complete_and_right() {
    let page = Page::read("siprec.md");
    let kind = kind("GstSiprec");
    page.ensure_properties("property", &own(kind));
    page.ensure_properties("pad property", &own(glib::Type::from_name("GstSiprecSinkPad").unwrap()));
    let golden = golden("siprec");
    page.ensure_signals(kind, &signals("siprec"));
    for template in golden.lines().filter_map(|line| line.split("template: '").nth(1)) {
        let name = template.trim_end_matches('\'');
        assert!(
            page.rows("pad").keys().any(|row| row == name) || page.text.contains(&format!("→ `{name}`")),
            "{name}"
        );
    }
}

#[test]
fn every_message_is_told_and_none_that_there_is_not() {
    let sources = ["messages.rs"].map(|name| {
        std::fs::read_to_string(format!("{}/src/call/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    });
    let posted: BTreeSet<String> = sources
        .iter()
        .flat_map(|text| text.split('"'))
        .filter(|word| word.starts_with("siprec-"))
        .map(str::to_owned)
        .collect();
    let told: BTreeSet<String> = Page::read("siprec.md").rows("message").into_keys().collect();
    assert_eq!(told, posted);
}

#[test]
fn every_cause_of_a_loss_is_told() {
    let page = Page::read("siprec.md");
    for cause in siprec_model::DropCause::ALL {
        assert!(page.text.contains(&format!("`{}`", cause.as_str())), "{}", cause.as_str());
    }
    let states = Page::read("recording.md").rows("`state`");
    let nicks = glib::EnumClass::with_type(gstsiprec::SiprecState::static_type()).unwrap();
    let expected: BTreeSet<String> = nicks.values().iter().map(|value| value.nick().to_owned()).collect();
    assert_eq!(states.into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_page_of_siprectee_is_complete_and_right() {
    let page = Page::read("siprectee.md");
    let kind = kind("GstSiprecTee");
    page.ensure_properties("property", &own(kind));
    page.ensure_properties("pad property", &own(glib::Type::from_name("GstSiprecTeePad").unwrap()));
    page.ensure_signals(kind, &signals("siprectee"));
}

#[test]
fn the_page_of_the_agent_is_complete_and_right() {
    let page = Page::read("agent.md");
    let kind = kind("GstSiprecAgent");
    page.ensure_properties("property", &own(kind));
    let signals = ["recorder-changed", "reload-config", "shutdown"].map(str::to_owned);
    page.ensure_signals(kind, &BTreeSet::from(signals));
}

#[test]
fn the_page_of_the_udp_elements_is_complete_and_right() {
    let whole = Page::read("siprecudp.md");
    for (element, name) in [("siprecudpsrc", "GstSiprecUdpSrc"), ("siprecudpsink", "GstSiprecUdpSink")] {
        let page = whole.section(&format!("## `{element}`"));
        let kind = kind(name);
        page.ensure_properties("property", &own(kind));
        let signals = signals(element);
        if !signals.is_empty() {
            page.ensure_signals(kind, &signals);
        }
    }
}

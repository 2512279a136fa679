//! Every metric has a description, and its type matches its name, as `promtool check metrics` requires.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::serve::Place;

/// Returns the text after `# HELP` or `# TYPE` by metric.
fn comments<'a>(text: &'a str, kind: &str) -> BTreeMap<&'a str, &'a str> {
    let start = format!("# {kind} ");
    text.lines().filter_map(|line| line.strip_prefix(start.as_str())?.split_once(' ')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_served_has_a_help_text_and_a_type_that_fits_its_name() {
    let place = Place::new().await;
    place.people_who_are_due(3).await;
    let daemon = place.serve();
    let address = daemon.ready().await;
    place.receiver.until_accepted(3).await;
    let served = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    let text = served.text().await.unwrap();
    // `make prometheus-test` passes the file to promtool.
    if let Some(path) = std::env::var_os("BDAY_METRICS_TO") {
        std::fs::write(path, &text).unwrap();
    }
    let (help, types) = (comments(&text, "HELP"), comments(&text, "TYPE"));
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let names: BTreeSet<&str> = samples.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let family = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix).filter(|family| types.contains_key(family)))
            .unwrap_or(name);
        assert!(help.get(family).is_some_and(|help| !help.is_empty()), "{family} has no help");
        let type_of = types.get(family).copied();
        let expected = match type_of {
            Some("histogram") => "histogram",
            _ if family.ends_with("_total") => "counter",
            _ => "gauge",
        };
        assert_eq!(type_of, Some(expected), "{family}");
        assert_eq!(family == name, expected != "histogram", "{name}");
    }
    for name in ["bday_build_info", "bday_paused", "process_cpu_seconds_total"] {
        assert!(types.contains_key(name), "{name} is missing");
    }
}

/// Returns the type and name of each metric in `PREFIXcounter!(`, `PREFIXgauge!(` and `PREFIXhistogram!(`.
fn named(source: &str, prefix: &str) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    for kind in ["counter", "gauge", "histogram"] {
        let call = format!("{prefix}{kind}!(");
        for (at, _) in source.match_indices(&call) {
            let is_other = prefix.is_empty() && source[..at].ends_with("describe_");
            let rest = source[at + call.len()..].trim_start();
            if let Some((name, _)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
                && !is_other
            {
                found.insert((kind, name.to_owned()));
            }
        }
    }
    found
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(&path).unwrap();
        }
    }
    text
}

#[test]
fn every_metric_in_the_source_is_described_with_its_type() {
    let source = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let (used, described) = (named(&source, ""), named(&source, "describe_"));
    assert!(used.len() > 25, "{used:?}");
    let missing: Vec<_> = used.difference(&described).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

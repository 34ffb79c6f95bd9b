use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use bedside::{Degradation, Fault, Stall};

use super::*;

const HOT: Device = Device {
    resident_memory: Some(20 << 20),
    temperature: Some(48.5),
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Families and samples of a text in Prometheus' format, which it must follow: every sample below
/// the HELP and TYPE of its family, no series twice, buckets that rise to their count.
fn parse(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut family = None;
    let mut families = BTreeSet::new();
    let mut samples = BTreeMap::new();
    let mut lines = text.lines();
    if !text.ends_with('\n') {
        return Err("no line end at the end".to_owned());
    }
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or(line)?;
            let next = lines.next().unwrap_or_default();
            let kind = next.strip_prefix(&format!("# TYPE {name} ")).ok_or(next)?;
            if help.is_empty() || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(line.to_owned());
            }
            if !families.insert(name) {
                return Err(format!("{name} comes twice"));
            }
            family = Some((name, kind));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or(line)?;
        let value: f64 = value.parse().map_err(|_| line.to_owned())?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').ok_or(line)?;
        for label in labels.split(',').filter(|l| !l.is_empty()) {
            let (key, value) = label.split_once('=').ok_or(line)?;
            let quoted = value.starts_with('"') && value.ends_with('"') && value.len() > 1;
            if !quoted || key.is_empty() || !key.chars().all(|c| c.is_ascii_lowercase()) {
                return Err(line.to_owned());
            }
        }
        let (base, kind) = family.ok_or(line)?;
        let belongs = match kind {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.strip_suffix(end) == Some(base)),
            _ => name == base,
        };
        if !belongs || (kind == "counter" && !name.ends_with("_total")) {
            return Err(format!("{line}: not of {base}"));
        }
        if samples.insert(series.to_owned(), value).is_some() {
            return Err(format!("{series} comes twice"));
        }
    }
    Ok(samples)
}

/// Cumulated counts of a histogram's buckets, in the order of the text, and its count.
fn buckets(text: &str, name: &str) -> (Vec<u64>, u64) {
    let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse().unwrap();
    let of = |start: String| {
        let lines = text.lines().filter(move |l| l.starts_with(&start));
        lines.map(value).collect::<Vec<u64>>()
    };
    let count = of(format!("{name}_count "))[0];
    (of(format!("{name}_bucket{{")), count)
}

#[test]
fn the_text_is_prometheus_and_holds_every_state() {
    let metrics = Metrics::new();
    metrics.state(State::Degraded(Degradation::FewerPrompts));
    metrics.skipped("no-signal");
    metrics.mask_age(ms(33));
    let samples = parse(&metrics.text(HOT)).unwrap();
    for state in State::ALL {
        let (name, reason) = (state.name(), state.reason());
        let series = format!("bedside_state{{state=\"{name}\",reason=\"{reason}\"}}");
        let expected = f64::from(u8::from(reason == "fewer-prompts"));
        assert_eq!(samples.get(&series), Some(&expected), "{series}");
    }
    for reason in SKIPPED {
        let series = format!("bedside_inference_skipped_total{{reason=\"{}\"}}", reason);
        let expected = f64::from(u8::from(reason == "no-signal"));
        assert_eq!(samples.get(&series), Some(&expected), "{series}");
    }
    assert_eq!(samples.get("bedside_temperature_celsius"), Some(&48.5));

    metrics.state(State::Fault(Fault::SelfTest));
    let samples = parse(&metrics.prometheus()).unwrap();
    let series = "bedside_state{state=\"fault\",reason=\"self-test\"}";
    assert_eq!(samples.get(series), Some(&1.0));
}

#[test]
fn what_is_not_known_is_left_out() {
    let text = Metrics::new().text(Device::default());
    assert!(parse(&text).is_ok());
    assert!(!text.contains("resident_memory") && !text.contains("celsius"));
}

#[test]
fn the_check_of_the_text_finds_faults() {
    let head = "# HELP a_total b\n# TYPE a_total counter\n";
    assert!(parse(&format!("{head}a_total 1\n")).is_ok());
    for fault in [
        "b_total 1\n",
        "a_total x\n",
        "a_total 1\na_total 2\n",
        "a_total{b=1} 1\n",
    ] {
        assert!(parse(&format!("{head}{fault}")).is_err(), "{fault}");
    }
    assert!(parse(&format!("{head}{head}")).is_err());
}

#[test]
fn a_few_values_read_as_expected() {
    let metrics = Metrics::new();
    for delay in [1, 2, 2, 200] {
        metrics.shown(ms(delay));
    }
    metrics.counts(Counts {
        captured: 6,
        shown: 4,
        dropped: 1,
        failed: 1,
    });
    metrics.withheld("age");
    metrics.withheld("uncertain");
    metrics.withheld("age");
    metrics.absent(3);
    metrics.late();
    metrics.fault();
    metrics.restarted();
    metrics.source_error();
    metrics.source_error();
    metrics.records_lost(7);
    let text = metrics.text(HOT);
    for expected in [
        "# HELP bedside_frames_captured_total Frames that the source gave or failed to give.\n\
         # TYPE bedside_frames_captured_total counter\n\
         bedside_frames_captured_total 6\n",
        "\nbedside_frames_shown_total 4\n",
        "\nbedside_frames_dropped_total 1\n",
        "\nbedside_frames_failed_total 1\n",
        "\nbedside_masks_withheld_total{reason=\"state\"} 0\n",
        "\nbedside_masks_withheld_total{reason=\"age\"} 2\n",
        "\nbedside_masks_withheld_total{reason=\"uncertain\"} 1\n",
        "\nbedside_answers_absent_total 3\n",
        "\nbedside_answers_late_total 1\n",
        "\nbedside_faults_total 1\n",
        "\nbedside_restarts_total 1\n",
        "\nbedside_source_errors_total 2\n",
        "\nbedside_records_lost_total 7\n",
        "\nbedside_state{state=\"starting\",reason=\"\"} 1\n",
        "# HELP bedside_video_delay_seconds From a frame in memory to the annotated frame in memory.\n\
         # TYPE bedside_video_delay_seconds histogram\n\
         bedside_video_delay_seconds_bucket{le=\"0.0005\"} 0\n\
         bedside_video_delay_seconds_bucket{le=\"0.001\"} 1\n\
         bedside_video_delay_seconds_bucket{le=\"0.002\"} 3\n",
        "bedside_video_delay_seconds_bucket{le=\"0.1\"} 3\n\
         bedside_video_delay_seconds_bucket{le=\"+Inf\"} 4\n\
         bedside_video_delay_seconds_sum 0.205\n\
         bedside_video_delay_seconds_count 4\n",
        "\nprocess_resident_memory_bytes 20971520\n",
        "\nbedside_temperature_celsius 48.5\n",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
}

#[test]
fn every_reason_to_skip_has_its_place() {
    let metrics = Metrics::new();
    let skipping = State::ALL.into_iter().filter(|state| match state {
        State::Paused(_) | State::Fault(_) => true,
        state => *state == State::Stalled(Stall::Input),
    });
    let mut count = 0;
    for state in skipping {
        metrics.skipped(state.reason());
        count += 1;
    }
    let skipped = |metrics: &Metrics| {
        let counts = metrics
            .skipped
            .each_ref()
            .map(|c| c.load(Ordering::Relaxed));
        (counts.iter().sum::<u64>(), counts[SKIPPED.len() - 1])
    };
    assert_eq!(skipped(&metrics), (count, 0));
    metrics.skipped("a reason to come");
    assert_eq!(skipped(&metrics), (count + 1, 1));
}

#[test]
fn memory_and_temperature_are_those_last_read() {
    let metrics = Metrics::new();
    assert!(metrics.device().resident_memory.is_none());
    metrics.read_device();
    assert_eq!(metrics.temperature(), crate::temperature());
    let linux = cfg!(target_os = "linux");
    assert_eq!(metrics.device().resident_memory.is_some(), linux);
}

#[test]
fn counts_from_several_threads_add_up() {
    let metrics = Metrics::new();
    thread::scope(|scope| {
        for worker in 0..4 {
            let metrics = &metrics;
            scope.spawn(move || {
                for i in 0..1000 {
                    metrics.late();
                    metrics.shown(Duration::from_micros(i * 10 + worker));
                    metrics.mask_age(ms(i));
                }
            });
        }
        for _ in 0..20 {
            let text = metrics.prometheus();
            let (buckets, count) = buckets(&text, "bedside_mask_age_seconds");
            assert!(buckets.is_sorted(), "{buckets:?}");
            assert_eq!(buckets.last(), Some(&count));
            let _ = metrics.report();
        }
    });
    let report = metrics.report();
    assert_eq!(metrics.late.load(Ordering::Relaxed), 4000);
    assert_eq!(report.video_delay.unwrap().count, 4000);
    assert_eq!(report.mask_age.unwrap().max_ms, 999.0);
    let (_, count) = buckets(&metrics.prometheus(), "bedside_mask_age_seconds");
    assert_eq!(count, 4000);
}

#[test]
fn counting_allocates_nothing() {
    let metrics = Metrics::new();
    let counted = allocation_counter::measure(|| {
        for i in 0..100 {
            metrics.counts(Counts::default());
            metrics.shown(ms(i));
            metrics.inference(ms(i * 100));
            metrics.mask_age(ms(i));
            metrics.skipped("unchanged");
            metrics.state(State::Active);
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_report_is_an_aligned_table() {
    // Percentiles are right to 0.1 %: 9.01 stands for 9.00.
    let metrics = Metrics::new();
    metrics.counts(Counts {
        captured: 1003,
        shown: 1000,
        dropped: 2,
        failed: 1,
    });
    for delay in 1..=1000 {
        metrics.shown(Duration::from_micros(delay * 10));
    }
    let report = metrics.report();
    assert_eq!(
        report.to_string(),
        "latency (ms)       count       min      mean       p50       p90       p95       p99     \
         p99.9       max   std dev\n\
         video delay         1000      0.01      5.00      5.00      9.01      9.50      9.90      \
         9.99     10.00      2.89\n\
         inference              0\n\
         mask age               0\n\
         glass to mask          0\n\
         frames: 1003 captured, 1000 shown, 2 dropped, 1 failed"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["video_delay"]["count"], 1000);
    assert_eq!(json["video_delay"]["max_ms"], 10.0);
    assert!(json["mask_age"].is_null());
}

#[test]
fn the_text_file_is_replaced_whole_and_readable_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bedside.prom");
    let metrics = Metrics::new();
    for captured in 1..=2 {
        metrics.counts(Counts {
            captured,
            ..Counts::default()
        });
        metrics.write_textfile(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let samples = parse(&text).unwrap();
        let expected = captured as f64;
        assert_eq!(
            samples.get("bedside_frames_captured_total"),
            Some(&expected)
        );
    }
    assert_eq!(
        folder.path().read_dir().unwrap().count(),
        1,
        "no file is left aside"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{mode:o}");
    }
    let error = metrics
        .write_textfile(&folder.path().join("no/bedside.prom"))
        .unwrap_err();
    // Cause and remedy, but no path: it may name a patient.
    let text = error.to_string();
    assert!(
        text.starts_with("metrics file: ") && text.contains("hint: "),
        "{text}"
    );
    assert!(!text.contains("bedside.prom"), "{text}");
}

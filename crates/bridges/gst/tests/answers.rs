//! Masks, beside those of the command, and what becomes of them when the model's process ends.

use std::process::Command;
use std::str;
use std::time::Duration;

use bedside::vision::rle;
use gst::prelude::*;

use crate::support::{Still, alone, bundle, children, command, names, sample};

/// The run lengths in what the command prints as JSON.
fn counts(command: &str, name: &str, prompt: &str) -> Vec<String> {
    let ran = Command::new(command)
        .args([
            "segment",
            "--json",
            "--bundle",
            &bundle(),
            "--prompt",
            prompt,
        ])
        .arg(sample(name))
        .output()
        .unwrap();
    let json = str::from_utf8(&ran.stdout).unwrap();
    let counts = json.split("\"counts\":").skip(1);
    let text = counts.map(|rest| rest.split('"').nth(1).unwrap().replace("\\\\", "\\"));
    text.collect()
}

#[test]
fn a_still_picture_has_the_masks_of_the_command() {
    let Some(command) = command() else { return };
    let _alone = alone();
    for (name, prompt) in [
        ("polyp.png", "polyp"),
        ("breast-tumor.png", "tumor in breast ultrasound"),
        ("fetal-head.png", "fetal head"),
    ] {
        let expected = counts(&command, name, prompt);
        assert_eq!(expected.len(), 1, "{name}");
        // In a process of its own, and in this one.
        for command in [command.as_str(), ""] {
            // However slow the machine is, the model sees all of the picture.
            let slow = "still-after=0 target=60000 max-age=10000";
            let properties = format!("prompts=\"{prompt}\" command=\"{command}\" {slow}");
            let mut still = Still::new(name, &properties);
            let shown = still.until(|shown| !shown.is_empty());
            let found: Vec<_> = shown
                .iter()
                .map(|s| rle::to_string(&rle::encode(&s.mask)))
                .collect();
            assert!(found == expected, "{name} by '{command}'");
            assert_eq!(shown[0].prompt, prompt);
            assert!(shown[0].age <= Duration::from_secs(10));
            // The picture itself is untouched.
            let buffer = still.next();
            assert!(buffer.map_readable().unwrap().as_slice() == still.data());
        }
    }
}

#[test]
fn video_goes_on_when_the_model_hangs_or_is_killed_and_the_state_says_so() {
    let Some(command) = command() else { return };
    let _alone = alone();
    let limit = Duration::from_millis(400);
    let properties =
        format!("prompts=polyp command=\"{command}\" still-after=0 max-age=400 mode=overlay");
    let others = children();
    let mut still = Still::new("polyp.png", &properties);
    still.until(|shown| !shown.is_empty());
    still.message(|message| names(message, "found") == ["polyp"]);
    let ours: Vec<_> = children()
        .into_iter()
        .filter(|id| !others.contains(id))
        .collect();
    let signal = |name: &str| {
        for id in &ours {
            let sent = Command::new("kill")
                .args([name, &id.to_string()])
                .status()
                .unwrap();
            assert!(sent.success());
        }
    };

    signal("-STOP");
    still.until(|shown| {
        assert!(shown.iter().all(|mask| mask.age <= limit), "{shown:?}");
        shown.is_empty()
    });
    signal("-CONT");
    still.until(|shown| !shown.is_empty());

    signal("-KILL");
    still.until(<[_]>::is_empty);
    let told = still.message(|message| message.get::<&str>("error").is_ok());
    assert!(
        told.get::<&str>("error").unwrap().contains("signal 9"),
        "{told:?}"
    );
    still.until(|shown| !shown.is_empty());
    let state = still.element.property::<String>("state");
    assert!(
        state.starts_with("active") || state.starts_with("degraded"),
        "{state}"
    );
}

//! Real clips of ultrasound devices, decoded as OpenCV decodes them.

use std::error::Error;
use std::sync::Arc;

use bedside::MonotonicClock;
use bedside_tests::shared_data;
use bedside_video::{OpenOptions, Pace, open};
use bedside_vision::colour::rgb_pixels;
use serde_json::Value;

#[test]
fn real_clips_are_decoded_as_opencv_does() -> Result<(), Box<dyn Error>> {
    let golden = bedside_tests::workspace::read("crates/bedside-video/tests/golden/shared.json")?;
    let golden: Vec<Value> = serde_json::from_str(&golden)?;
    for clip in golden {
        let name = clip["file"].as_str().ok_or("no file")?;
        let Some(path) = shared_data(&format!("inputs/{name}")) else {
            continue;
        };
        let mut options = OpenOptions::new(Arc::new(MonotonicClock::new()));
        options.pace = Pace::Fast;
        let mut source = open(path.to_str().ok_or("path")?, &options)?;
        let info = source.info().clone();
        assert_eq!(clip["width"], info.width, "{name}");
        assert_eq!(clip["height"], info.height, "{name}");
        let rate = clip["rate"].as_f64().ok_or("no rate")?;
        let own = info.frames_per_second.ok_or("no own rate")?;
        assert!((own / rate - 1.0).abs() < 0.01, "{name}: {own} for {rate}");

        let means = clip["means"].as_array().ok_or("no means")?;
        let (mut count, mut buffer, mut rgb) = (0, Vec::new(), Vec::new());
        while let Some(frame) = source.next(buffer)? {
            if count % 10 == 0 {
                rgb_pixels(&frame, &mut rgb);
                let sum: u64 = rgb.iter().map(|byte| u64::from(*byte)).sum();
                let mean = sum as f64 / rgb.len() as f64;
                let expected = means[count / 10].as_f64().ok_or("no mean")?;
                assert!(
                    (mean - expected).abs() < 0.5,
                    "{name}, frame {count}: {mean} for {expected}"
                );
            }
            count += 1;
            buffer = frame.into_data();
        }
        assert_eq!(clip["frames"], count, "{name}");
    }
    Ok(())
}

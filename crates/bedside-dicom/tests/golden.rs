//! Pixels against those of pydicom.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bedside_dicom::Dicom;

use crate::{folder, matrix};

#[test]
fn every_kind_of_file_gives_the_pixels_of_pydicom() {
    let all = matrix();
    assert!(all.len() > 500, "{} files", all.len());
    let mut wrong = Vec::new();
    let mut lossy = 0;
    for golden in all {
        let mut file = match Dicom::from_bytes(golden.file) {
            Ok(file) => file,
            Err(error) => {
                wrong.push(format!("{}: {error}", golden.name));
                continue;
            }
        };
        assert_eq!(file.frames() as usize, golden.frames, "{}", golden.name);
        let expected = golden
            .expected
            .chunks(golden.expected.len() / golden.frames);
        for (index, expected) in expected.enumerate() {
            match file.frame(index as u32) {
                Ok(frame) if golden.most == 0 => {
                    if crc32fast::hash(frame.data()).to_le_bytes() != *expected {
                        wrong.push(format!("{}: frame {index} differs", golden.name));
                    }
                }
                Ok(frame) => {
                    assert_eq!(frame.data().len(), expected.len(), "{}", golden.name);
                    let apart = frame.data().iter().zip(expected);
                    let most = apart.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                    lossy = lossy.max(most);
                    if most > golden.most {
                        wrong.push(format!("{}: frame {index} is off by {most}", golden.name));
                    }
                }
                Err(error) => wrong.push(format!("{}: {error}", golden.name)),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("lossy frames are off by {lossy} at most");
}

#[derive(serde::Deserialize)]
struct Shared {
    size: (u32, u32),
    lossy: bool,
    /// Of each frame its CRC-32, or some of its pixels.
    frames: Vec<serde_json::Value>,
}

#[test]
fn files_of_scanners_give_the_pixels_of_pydicom() {
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/inputs");
    let told = fs::read(folder().join("shared.json")).unwrap();
    let told: BTreeMap<String, Shared> = serde_json::from_slice(&told).unwrap();
    if !inputs.is_dir() {
        println!("skipped: no {}", inputs.display());
        return;
    }
    for (name, shared) in told {
        let mut file = Dicom::open(&inputs.join(&name)).unwrap();
        assert_eq!(file.size(), shared.size, "{name}");
        assert_eq!(file.frames() as usize, shared.frames.len(), "{name}");
        let mut most = 0;
        for (index, expected) in shared.frames.iter().enumerate() {
            let frame = file.frame(index as u32).unwrap();
            let data = frame.data();
            if let Some(crc) = expected.as_u64() {
                assert_eq!(
                    u64::from(crc32fast::hash(data)),
                    crc,
                    "{name}: frame {index}"
                );
                continue;
            }
            let pixels = expected.as_array().unwrap();
            for (sample, expected) in data.iter().step_by(data.len() / 97).zip(pixels) {
                most = most.max(sample.abs_diff(expected.as_u64().unwrap() as u8));
            }
        }
        println!("{name}: off by {most} at most");
        assert!(most <= if shared.lossy { 2 } else { 0 }, "{name}: {most}");
    }
}

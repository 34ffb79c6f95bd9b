//! Flow over a phantom's frames, for looking at and for `benches/peer_flow.py`.
//!
//! `flow KIND SEED WIDTH HEIGHT FRAMES [FOLDER]` prints a line a frame: times, what the frames have
//! in common, the mean end-point error inside the target in the frame's pixels, and the Dice of the
//! mask carried from the last keyframe, of which there is one every tenth frame. Into `FOLDER` go
//! `luma.u8` and `mask.u8` (frames of `HEIGHT` x `WIDTH` bytes), `truth.f32` (where each pixel was
//! in the frame before, `HEIGHT` x `WIDTH` x 2) and `flow.f32` (the same of ours, at the reduced
//! size).

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a tool for developers: prints and gives up"
)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use bedside_core::{Frame, Mask, PixelFormat};
use bedside_phantom::{Phantom, PhantomConfig};
use bedside_vision::dice;
use bedside_vision::flow::{Carrier, Flow, Luma, Track};

/// Frames from one keyframe to the next.
const KEYFRAMES: u64 = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, seed, width, height, frames, folder @ ..] = &args[..] else {
        return Err("hint: flow KIND SEED WIDTH HEIGHT FRAMES [FOLDER]".into());
    };
    let (width, height) = (width.parse()?, height.parse()?);
    let phantom = Phantom::new(PhantomConfig {
        kind: kind.parse()?,
        width,
        height,
        seed: seed.parse()?,
        frame_rate: 30.0,
        target: true,
    })?;
    let create = |name| {
        let path = folder
            .first()
            .map(|folder| PathBuf::from(folder).join(name));
        path.map(|path| File::create(path).map(BufWriter::new))
            .transpose()
    };
    let (mut lumas, mut masks) = (create("luma.u8")?, create("mask.u8")?);
    let (mut truths, mut flows) = (create("truth.f32")?, create("flow.f32")?);

    let (mut before, mut now) = (Luma::default(), Luma::default());
    let (mut flow, mut track, mut carrier) =
        (Flow::default(), Track::default(), Carrier::default());
    println!(
        "frame,reduce_ms,flow_ms,step_ms,carry_ms,lost,displacement,residual,histogram,verdict,\
         epe,moved,age,dice,confidence"
    );
    for index in 0..frames.parse()? {
        let shot = phantom.frame_at(index);
        let frame = nv12(&shot.frame);
        let mut times = [0.0; 4];
        let mut start = Instant::now();
        let mut lap = |stage: usize| {
            times[stage] = start.elapsed().as_secs_f64() * 1e3;
            start = Instant::now();
        };
        now.reduce(&frame);
        lap(0);
        if index == 0 {
            before.clone_from(&now);
        }
        let motion = flow.between(&before, &now);
        lap(1);
        track.step(&flow);
        lap(2);
        let confidence = carrier.carry(&track);
        lap(3);
        let size = now.size();
        let truth = |x: u32, y: u32| {
            let (dx, dy) = phantom.motion(index, x as f32 + 0.5, y as f32 + 0.5);
            [-dx, -dy]
        };
        if index > 0 {
            let (epe, moved) = errors(&flow, size, &shot.mask, truth);
            let [reduce, between, step, carry] = times;
            println!(
                "{index},{reduce:.3},{between:.3},{step:.3},{carry:.3},{:.4},{:.4},{:.4},{:.4},\
                 {:?},{epe:.3},{moved:.2},{},{:.4},{confidence:.3}",
                motion.lost,
                motion.displacement,
                motion.residual,
                motion.histogram,
                motion.verdict(),
                (index - 1) % KEYFRAMES + 1,
                dice(carrier.carried(), &shot.mask),
            );
        }
        if index % KEYFRAMES == 0 {
            track.start(&now);
            carrier.take(&shot.mask);
        }
        std::mem::swap(&mut before, &mut now);

        let bytes = |v: &[f32; 2]| v.map(f32::to_le_bytes).concat();
        if let (Some(lumas), Some(masks)) = (&mut lumas, &mut masks) {
            lumas.write_all(&frame.data()[..(width * height) as usize])?;
            masks.write_all(shot.mask.data())?;
        }
        if let (Some(truths), Some(flows)) = (&mut truths, &mut flows) {
            for y in 0..height {
                for x in 0..width {
                    truths.write_all(&bytes(&truth(x, y)))?;
                }
            }
            for shift in flow.field() {
                flows.write_all(&bytes(shift))?;
            }
        }
    }
    Ok(())
}

/// What a capture device would give: luminance, and chroma that flow does not read.
fn nv12(frame: &Frame) -> Frame {
    let (width, height) = (frame.width(), frame.height());
    let mut data = match frame.format() {
        PixelFormat::Rgb8 => {
            let pixels = frame.data().as_chunks::<3>().0.iter();
            let luma = pixels.map(|rgb| {
                let [r, g, b] = rgb.map(u32::from);
                ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
            });
            luma.collect()
        }
        _ => frame.data().to_vec(),
    };
    data.resize(PixelFormat::Nv12.byte_len(width, height), 128);
    Frame::new(width, height, PixelFormat::Nv12, data).unwrap()
}

/// Mean end-point error inside the mask and mean movement there, in pixels of the frame.
fn errors(
    flow: &Flow,
    (columns, rows): (usize, usize),
    mask: &Mask,
    truth: impl Fn(u32, u32) -> [f32; 2],
) -> (f64, f64) {
    let scale = mask
        .width()
        .div_ceil(columns as u32)
        .max(mask.height().div_ceil(rows as u32));
    let (mut error, mut moved, mut count) = (0.0, 0.0, 0.0);
    for (i, shift) in flow.field().iter().enumerate() {
        let (x, y) = ((i % columns) as u32, (i / columns) as u32);
        let (x, y) = (x * scale + scale / 2, y * scale + scale / 2);
        if mask.get(x, y) {
            let [dx, dy] = truth(x, y);
            let [ex, ey] = shift.map(|v| v * scale as f32);
            error += f64::from((dx - ex).hypot(dy - ey));
            moved += f64::from(dx.hypot(dy));
            count += 1.0;
        }
    }
    (error / f64::max(count, 1.0), moved / f64::max(count, 1.0))
}

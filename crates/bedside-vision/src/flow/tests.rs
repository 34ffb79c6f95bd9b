//! That buffers are kept; what flow finds is tested from outside, in `tests/flow.rs`.

use bedside_core::{Frame, Mask, PixelFormat};

use super::*;

pub(super) fn buffer<T>(of: &Vec<T>) -> (usize, usize) {
    (of.as_ptr().addr(), of.capacity())
}

/// Where all buffers lie and how large they are, in an order that swapping does not change.
fn buffers(
    lumas: &[Luma; 2],
    flow: &Flow,
    track: &Track,
    carrier: &Carrier,
) -> Vec<(usize, usize)> {
    let mut all = vec![buffer(&flow.sound)];
    for luma in lumas {
        all.extend(luma.buffers());
    }
    for search in [&flow.back, &flow.forth] {
        all.extend(search.buffers());
    }
    all.extend(track.buffers());
    all.extend(carrier.buffers());
    all.sort_unstable();
    all
}

#[test]
fn steady_frames_allocate_no_buffers() {
    let frame = |seed: usize| {
        let bytes = (0..200 * 150).map(|i| ((i + seed) as u64 * 2_654_435_761) >> 7);
        let bytes = bytes.map(|v| v.to_le_bytes()[1]).collect();
        Frame::new(200, 150, PixelFormat::Gray8, bytes).unwrap()
    };
    let mask = Mask::from_bytes(200, 150, vec![1; 200 * 150]).unwrap();
    let (mut lumas, mut flow) = ([Luma::default(), Luma::default()], Flow::default());
    let (mut track, mut carrier) = (Track::default(), Carrier::default());
    let mut seen = Vec::new();
    for i in 0..6 {
        let [before, now] = &mut lumas;
        now.reduce(&frame(i));
        flow.between(before, now);
        if i % 2 == 0 {
            track.start(now);
            carrier.take(&mask);
        }
        track.step(&flow);
        carrier.carry(&track);
        lumas.swap(0, 1);
        seen.push(buffers(&lumas, &flow, &track, &carrier));
    }
    assert_eq!(seen[2], seen[5]);
    assert_eq!(seen[3], seen[4]);
}

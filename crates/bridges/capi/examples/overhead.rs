//! What the C interface adds to a frame: the crate and C's calls on the same frame in turn, masks
//! read by both. In processor time, so that other work on the machine counts for little.
//! `overhead BUNDLE PICTURE PROMPT [FRAMES]`
#![allow(unsafe_code, reason = "the C interface is called as C does")]
#![allow(clippy::print_stdout, reason = "a measurement's result")]

use std::error::Error;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::time::Duration;
use std::{env, ptr};

use bedside::*;
use bedside_video::still;
use cpu_time::ThreadTime;
use runtime::{Frame, Mask, Options, PixelFormat, Precision, Prompt, Segmenter};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [bundle, picture, prompt, rest @ ..] = arguments.as_slice() else {
        return Err("usage: overhead BUNDLE PICTURE PROMPT [FRAMES]".into());
    };
    let frames: usize = rest.first().map_or(Ok(1_000), |n| n.parse())?;
    let frame = at_size(&still::read(picture.as_ref())?)?;
    let c = C::open(bundle, prompt, &frame)?;
    let options = Options::default()
        .with_precision(Precision::Int8)
        .with_threads(1);
    let mut segmenter = Segmenter::open(bundle, &options)?;
    let prompts = segmenter.prompts(&[Prompt::new(prompt)])?;

    let mut by_c = vec![0; (WIDTH * HEIGHT) as usize];
    let mut by_crate = || -> Result<Mask, Box<dyn Error>> {
        let findings = segmenter.segment(&frame, &prompts)?.findings;
        let mask = findings.into_iter().find_map(|finding| finding.mask);
        mask.ok_or_else(|| "no mask; hint: a picture that has the object".into())
    };
    let mask = by_crate()?;
    c.segment(&mut by_c)?;
    if mask.data() != by_c {
        return Err("the masks differ".into());
    }
    let (mut with_crate, mut with_c, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..frames {
        let mut crate_took = || -> Result<f64, Box<dyn Error>> {
            let start = ThreadTime::now();
            by_crate()?;
            Ok(ms(start.elapsed()))
        };
        let mut c_took = || -> Result<f64, Box<dyn Error>> {
            let start = ThreadTime::now();
            c.segment(&mut by_c)?;
            Ok(ms(start.elapsed()))
        };
        // Who comes second finds warmer caches.
        let (by_crate, by_c) = match round % 2 {
            0 => (crate_took()?, c_took()?),
            _ => {
                let by_c = c_took()?;
                (crate_took()?, by_c)
            }
        };
        with_crate.push(by_crate);
        with_c.push(by_c);
        more.push(by_c - by_crate);
    }
    println!(
        "{WIDTH}x{HEIGHT}, int8, 1 thread, {frames} frames in turn, medians of processor time:"
    );
    println!("  crate         {:7.3} ms", median(&mut with_crate));
    println!("  C interface   {:7.3} ms", median(&mut with_c));
    println!("  difference    {:7.3} ms a frame", median(&mut more));
    Ok(())
}

/// The picture stretched to the size of the measurement.
fn at_size(picture: &Frame) -> Result<Frame, Box<dyn Error>> {
    let view = picture.view();
    let at = |to: u32, all: u32, from: u32| to * from / all;
    let mut data = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let x = at(x, WIDTH, view.width());
            let pixel = view.pixel(x, at(y, HEIGHT, view.height()));
            data.extend(pixel.ok_or("no pixel there")?);
        }
    }
    Ok(Frame::new(WIDTH, HEIGHT, PixelFormat::Rgb8, data)?)
}

struct C {
    segmenter: bedside_segmenter,
    prompts: bedside_prompts,
    frame: bedside_frame,
}

impl C {
    /// `frame` must outlive it.
    fn open(bundle: &str, prompt: &str, frame: &Frame) -> Result<Self, Box<dyn Error>> {
        let (bundle, prompt) = (CString::new(bundle)?, CString::new(prompt)?);
        let options = bedside_options {
            precision: bedside_precision::Int8 as i32,
            side: 0,
            threads: 1,
            presence: 0.0,
            backend: ptr::null(),
            cache: ptr::null(),
        };
        let prompt = bedside_prompt {
            text: prompt.as_ptr(),
            modality: ptr::null(),
            site: ptr::null(),
        };
        let mut segmenter = MaybeUninit::uninit();
        let mut prompts = MaybeUninit::uninit();
        let mut view = MaybeUninit::uninit();
        let pixels = frame.data();
        // SAFETY: texts that end in a zero byte, one prompt, as many pixels as stated; what is written
        // is written by every call.
        unsafe {
            check(bedside_segmenter_open(
                bundle.as_ptr(),
                Some(&options),
                Some(&mut segmenter),
            ))?;
            let segmenter = segmenter.assume_init();
            check(bedside_prompts_new(
                segmenter,
                &raw const prompt,
                1,
                Some(&mut prompts),
            ))?;
            let stride = frame.width() as usize * 3;
            check(bedside_frame_of_buffer(
                frame.width(),
                frame.height(),
                bedside_pixel_format::Rgb8 as i32,
                pixels.as_ptr(),
                pixels.len(),
                stride,
                Some(&mut view),
            ))?;
            let (prompts, frame) = (prompts.assume_init(), view.assume_init());
            Ok(Self {
                segmenter,
                prompts,
                frame,
            })
        }
    }

    /// All that a host does for a frame.
    fn segment(&self, mask: &mut [u8]) -> Result<(), Box<dyn Error>> {
        let (mut answer, mut finding) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the frame's pixels are there still, and the mask has as many as stated; what is
        // written is written by every call.
        unsafe {
            check(bedside_segment(
                self.segmenter,
                self.prompts,
                Some(&self.frame),
                Some(&mut answer),
            ))?;
            let answer = answer.assume_init();
            check(bedside_answer_finding(answer, 0, Some(&mut finding)))?;
            check(bedside_answer_mask(
                answer,
                0,
                mask.as_mut_ptr(),
                mask.len(),
                WIDTH as usize,
            ))?;
            check(bedside_answer_free(answer))
        }
    }
}

fn check(status: bedside_status) -> Result<(), Box<dyn Error>> {
    match status {
        bedside_status::Ok => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

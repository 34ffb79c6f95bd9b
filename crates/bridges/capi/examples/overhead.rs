//! What the C interface adds to a frame: the crate and C's calls on the same frames in turn, masks
//! read by both. `overhead BUNDLE PICTURE PROMPT [FRAMES]`
#![allow(unsafe_code, reason = "the C interface is called as C does")]
#![allow(clippy::print_stdout, reason = "a measurement's result")]

use std::error::Error;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};
use std::{env, ptr};

use bedside::*;
use bedside_video::still;
use runtime::vision::colour;
use runtime::{Frame, Options, PixelFormat, Precision, Prompt, Segmenter};

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
    let (mut with_crate, mut with_c, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..frames {
        let start = Instant::now();
        let answer = segmenter.segment(&frame, &prompts)?;
        let mask = answer.findings.into_iter().find_map(|finding| finding.mask);
        let mask = mask.ok_or("no mask; hint: a picture that has the object")?;
        let middle = Instant::now();
        c.segment(&mut by_c)?;
        let end = Instant::now();
        if mask.data() != by_c {
            return Err("the masks differ".into());
        }
        let (crate_took, c_took) = (middle - start, end - middle);
        with_crate.push(ms(crate_took));
        with_c.push(ms(c_took));
        more.push(ms(c_took) - ms(crate_took));
    }
    println!("{WIDTH}x{HEIGHT}, int8, 1 thread, {frames} frames each in turn, medians:");
    println!("  crate         {:7.3} ms", median(&mut with_crate));
    println!("  C interface   {:7.3} ms", median(&mut with_c));
    println!("  difference    {:7.3} ms a frame", median(&mut more));
    Ok(())
}

/// The picture repeated or cut to the size of the measurement.
fn at_size(picture: &Frame) -> Result<Frame, Box<dyn Error>> {
    let mut rgb = Vec::new();
    colour::rgb_pixels(picture, &mut rgb);
    let row = picture.width() as usize * 3;
    let fitted = rgb
        .chunks(row)
        .map(|row| row.iter().copied().cycle().take(WIDTH as usize * 3));
    let mut data = Vec::new();
    for row in fitted.cycle().take(HEIGHT as usize) {
        data.extend(row);
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

//! Find an object in a picture.
//!
//! ```sh
//! cargo run --release -p bedside --example picture -- models/edge/samples/polyp.png polyp
//! ```

use std::error::Error;
use std::io::{self, Write};

use bedside::{Frame, Options, PixelFormat, Prompt, Segmenter};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let picture = args
        .next()
        .unwrap_or("models/edge/samples/polyp.png".into());
    let words = args.next().unwrap_or("polyp".into());
    let bundle = "models/edge/edge.bedside";
    run(
        bundle,
        &Options::default(),
        &picture,
        &words,
        &mut io::stdout(),
    )
}

/// One line about `words` in `picture`.
pub(crate) fn run(
    bundle: &str,
    options: &Options,
    picture: &str,
    words: &str,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let mut segmenter = Segmenter::open(bundle, options)?;
    let prompts = segmenter.prompts(&[Prompt::new(words)])?;

    let pixels = image::open(picture)?.into_rgb8();
    let (width, height) = pixels.dimensions();
    let frame = Frame::new(width, height, PixelFormat::Rgb8, pixels.into_raw())?;

    for finding in segmenter.segment(&frame, &prompts)?.findings {
        // "Not present" is an answer: then there is no mask.
        match finding.bounding_box {
            Some(at) => writeln!(
                out,
                "{}: {} pixels, {}x{} at {},{}",
                finding.prompt, finding.area, at.width, at.height, at.x, at.y
            )?,
            None => writeln!(out, "{}: not present", finding.prompt)?,
        }
    }
    Ok(())
}

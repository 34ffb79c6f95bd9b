//! Find an object in all pictures of a folder, as many at a time as there are cores.
//!
//! ```sh
//! cargo run --release -p bedside --example folder -- models/edge/samples polyp
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, thread};

use bedside::{Bundle, Frame, Options, PixelFormat, Prompt, PromptSet, Segmenter};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or("models/edge/samples".into());
    let words = args.next().unwrap_or("polyp".into());
    // Pictures side by side with one thread each are faster than threads within a picture.
    let options = Options::default().with_threads(1);
    let bundle = "models/edge/edge.bedside";
    run(bundle, &options, &folder, &words, &mut io::stdout())
}

/// One line a picture, in the order of their names.
pub(crate) fn run(
    bundle: &str,
    options: &Options,
    folder: &str,
    words: &str,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let mut pictures: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    pictures.retain(|path| path.extension().is_some_and(|e| e == "png" || e == "jpg"));
    pictures.sort();

    let bundle = Bundle::open(bundle)?;
    let open = || Segmenter::new(bundle.clone(), options.backend()?, options);
    // The first proves the backend, which the others then find remembered; its prompts serve all.
    let mut first = open()?;
    let prompts = first.prompts(&[Prompt::new(words)])?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut segmenters = vec![first];
    while segmenters.len() < cores.min(pictures.len()) {
        segmenters.push(open()?);
    }

    let next = Mutex::new(pictures.iter().enumerate());
    let lines = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for mut segmenter in segmenters {
            let (next, lines, prompts) = (&next, &lines, &prompts);
            scope.spawn(move || {
                while let Some((place, path)) = take(next) {
                    // A picture that fails does not stop the others.
                    let line =
                        line(&mut segmenter, prompts, path).unwrap_or_else(|e| e.to_string());
                    if let Ok(mut lines) = lines.lock() {
                        lines.push((place, format!("{}: {line}", path.display())));
                    }
                }
            });
        }
    });
    let mut lines = lines.into_inner().unwrap_or_default();
    lines.sort();
    for (_, line) in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn take<T>(from: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    from.lock().ok()?.next()
}

fn line(
    segmenter: &mut Segmenter,
    prompts: &PromptSet,
    path: &Path,
) -> Result<String, Box<dyn Error>> {
    let pixels = image::open(path)?.into_rgb8();
    let (width, height) = pixels.dimensions();
    let frame = Frame::new(width, height, PixelFormat::Rgb8, pixels.into_raw())?;
    let found = segmenter.segment(&frame, prompts)?.findings;
    let areas: Vec<String> = found
        .iter()
        .map(|f| format!("{} {} pixels", f.prompt, f.area))
        .collect();
    Ok(areas.join(", "))
}

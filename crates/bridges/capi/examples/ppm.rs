//! A picture as PPM, which the C and C++ examples read: `ppm IN OUT`.

use std::error::Error;
use std::io::Write;
use std::{env, fs};

use bedside_video::still;
use runtime::vision::colour;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (from, to) = arguments
        .next()
        .zip(arguments.next())
        .ok_or("usage: ppm IN OUT")?;
    let frame = still::read(from.as_ref())?;
    let mut pixels = Vec::new();
    colour::rgb_pixels(&frame, &mut pixels);
    let mut file = fs::File::create(to)?;
    writeln!(file, "P6 {} {} 255", frame.width(), frame.height())?;
    file.write_all(&pixels)?;
    Ok(())
}

//! A display in memory, which checks what is asked of it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bedside_core::{Frame, ManualClock, PixelFormat};
use bedside_display::{BUFFERS, DisplaySink, Pixels, Screen};
use bedside_video::sink::{SinkError, SinkErrorKind};

/// What a display is to do with the next call of a kind.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Opening fails.
    pub(crate) absent: bool,
    /// It is seen to be unplugged.
    pub(crate) unplugged: bool,
    /// Another program has taken it.
    pub(crate) taken: bool,
    /// It does not refresh.
    pub(crate) stuck: bool,
}

/// What a person in front of it would see, and what was asked of it.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) trouble: Trouble,
    /// Times that it was opened, tried or not, and whether it is open.
    pub(crate) tried: usize,
    pub(crate) opened: usize,
    pub(crate) open: bool,
    /// Pictures that were seen, newest last.
    pub(crate) seen: Vec<Vec<u8>>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) size: (u32, u32),
    pub(crate) stride: usize,
    world: Arc<Mutex<World>>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Fake {
    /// Rows have some bytes behind their pixels.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self {
            size: (width, height),
            stride: width as usize * 4 + 12,
            world: Arc::default(),
            clock: Arc::default(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn sink(&self) -> DisplaySink {
        let fake = self.clone();
        DisplaySink::on(move || fake.open(), self.clock.clone())
    }

    fn open(&self) -> Result<Box<dyn Screen>, SinkError> {
        let mut world = self.world();
        assert!(!world.open, "the display before was not given back");
        world.tried += 1;
        if world.trouble.absent {
            return Err(away("nothing is plugged in"));
        }
        world.opened += 1;
        world.open = true;
        // Memory may hold anything, but for the picture that is seen first.
        let noise = vec![0xAA; self.stride * self.size.1 as usize];
        Ok(Box::new(Opened {
            fake: self.clone(),
            buffers: [vec![0; noise.len()], noise.clone(), noise],
            seen: 0,
            turning: None,
        }))
    }

    /// The pixel of the picture that is seen, as red, green and blue.
    pub(crate) fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let world = self.world();
        let at = y as usize * self.stride + x as usize * 4;
        let [blue, green, red] = world.seen.last().unwrap()[at..at + 3].try_into().unwrap();
        [red, green, blue]
    }
}

pub(crate) fn away(why: &str) -> SinkError {
    SinkError::new(SinkErrorKind::Away, why)
}

struct Opened {
    fake: Fake,
    buffers: [Vec<u8>; BUFFERS],
    seen: usize,
    turning: Option<usize>,
}

impl Screen for Opened {
    fn size(&self) -> (u32, u32) {
        self.fake.size
    }

    fn look(&mut self) -> Result<(), SinkError> {
        match self.fake.world().trouble.unplugged {
            true => Err(away("was unplugged")),
            false => Ok(()),
        }
    }

    fn pixels(&mut self, buffer: usize) -> Pixels<'_> {
        assert_ne!(buffer, self.seen, "what is seen is not painted");
        assert_ne!(Some(buffer), self.turning, "nor what is about to be");
        Pixels {
            bytes: &mut self.buffers[buffer],
            stride: self.fake.stride,
        }
    }

    fn flip(&mut self, buffer: usize) -> Result<(), SinkError> {
        assert_eq!(self.turning, None, "one turn at a time");
        if self.fake.world().trouble.taken {
            return Err(away("another program has it"));
        }
        self.turning = Some(buffer);
        Ok(())
    }

    fn settle(&mut self, patience: Duration) -> Result<(), SinkError> {
        assert!(patience > Duration::ZERO);
        if self.fake.world().trouble.stuck {
            return Err(away("does not refresh"));
        }
        self.seen = self.turning.take().expect("there is a turn to wait for");
        let picture = self.buffers[self.seen].clone();
        self.fake.world().seen.push(picture);
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.fake.world().open = false;
    }
}

/// A frame of one shade of red, green and blue.
pub(crate) fn plain(width: u32, height: u32, rgb: [u8; 3]) -> Frame {
    let data = rgb.repeat((width * height) as usize);
    Frame::new(width, height, PixelFormat::Rgb8, data).unwrap()
}

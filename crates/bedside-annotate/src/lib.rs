//! Initial masks for the tools in which people correct them, and what they made of them.
//!
//! * [`Task`]: the pictures of a folder with the masks that the model drew, kept in [`TASK`]
//! * [`Chooser`]: which frames of a clip are worth a person's time
//! * [`Format`]: the task as a tool imports it, and the tool's export as an [`Export`]
//! * [`outcomes`]: each object of a picture before and after; [`Manifest`]: the table of the dataset
//!   that comes of it
//!
//! Nothing here writes files.

mod choose;
mod coco;
mod cvat;
mod error;
mod export;
mod format;
mod label_studio;
mod outcome;
mod shape;
mod task;

pub use choose::{Chooser, doubt};
pub use error::{Error, ErrorKind};
pub use export::Export;
pub use format::{Document, Format};
pub use outcome::{Change, Manifest, Outcome, Tally, outcomes, split_of};
pub use shape::Shape;
pub use task::{Object, Picture, Rle, TASK, Task};

//! The whole from outside, in one binary: each binary more is linked against tract.

mod biomedparse;
mod edge;
mod promises;
mod text;
mod tuning;
mod video;
mod workspace;

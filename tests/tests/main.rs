//! The whole from outside, in one binary: each binary more is linked against tract.

mod biomedparse;
mod clock;
mod edge;
mod graphs;
mod live;
mod promises;
mod proof;
mod public_api;
mod sides;
mod text;
mod tuning;
mod video;
mod watched;
mod workspace;

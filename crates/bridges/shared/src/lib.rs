//! See the manifest: this package is there for the features that it asks for.

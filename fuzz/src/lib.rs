//! What do the fuzz targets share? A server without sockets, requests as text, and mutations that know the commands.
//!
//! ```text
//! fuzz_targets/NAME.rs      what is fed to what, and what must hold afterwards
//! corpus-seeds/NAME/        what each begins with: text that people can read
//! corpus/NAME/ artifacts/   what a run has found; not kept in the repository
//! ```

pub mod machine;
pub mod mutate;
pub mod requests;
pub mod seeds;

/// The parts of the tests' support that need neither a socket nor a process.
#[allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]
#[path = "../../tests/support"]
mod support {
    pub mod resp;
    pub mod rng;
    pub mod text;
    pub mod differential {
        pub mod generate;
        pub mod grammar;
        pub mod normalise;
        pub mod rows;
        pub mod values;
    }
}

//! The kinds of machine that packages and guests are made for, under the names of other projects.

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// A PC: 64 bits, of Intel or AMD.
    Amd64,
    /// A board of ARM, of 64 bits.
    Arm64,
}

impl Architecture {
    /// The machine of this process.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: Self = Self::Amd64;
    /// The machine of this process.
    #[cfg(target_arch = "aarch64")]
    pub const HERE: Self = Self::Arm64;

    /// Returns Debian's name.
    #[must_use]
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns Rust's name of the processor.
    #[must_use]
    pub const fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Returns Rust's name of the target.
    #[must_use]
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.processor())
    }

    /// Returns GNU's name: that of its library folder, and the prefix of its compiler and linker.
    #[must_use]
    pub fn gnu(self) -> String {
        format!("{}-linux-gnu", self.processor())
    }
}

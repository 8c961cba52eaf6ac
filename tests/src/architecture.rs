//! The kinds of machine that packages and guests are made for, by the names that others give them.

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// A PC: 64 bits, of Intel or AMD.
    Amd64,
    /// A board of ARM, of 64 bits.
    Arm64,
}

impl Architecture {
    /// The machine that we run on.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: Self = Self::Amd64;
    /// The machine that we run on.
    #[cfg(target_arch = "aarch64")]
    pub const HERE: Self = Self::Arm64;

    /// As Debian names it.
    #[must_use]
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As Rust names the processor.
    #[must_use]
    pub const fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// As Rust names it as a target.
    #[must_use]
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.processor())
    }

    /// As GNU names it: its folder of libraries, and how the names of its compiler and linker begin.
    #[must_use]
    pub fn gnu(self) -> String {
        format!("{}-linux-gnu", self.processor())
    }
}

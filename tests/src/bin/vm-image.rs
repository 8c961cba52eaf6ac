//! Makes the images that the virtual machine scenarios start from, unless they exist already.

use anyhow::Result;
use unbox_tests::{clock::Stopwatch, vm::Image};

#[expect(clippy::print_stdout, reason = "a program for people")]
fn main() -> Result<()> {
    for image in [Image::agent, Image::arm] {
        let started = Stopwatch::start();
        println!("{} ({:.1} s)", image()?.disk.display(), started.elapsed().as_secs_f32());
    }
    Ok(())
}

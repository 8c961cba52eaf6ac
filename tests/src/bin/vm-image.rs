//! Makes the image that the virtual machine scenarios start from, unless it is there already.

use anyhow::Result;
use unbox_tests::{clock::Stopwatch, vm::Image};

#[expect(clippy::print_stdout, reason = "a program for people")]
fn main() -> Result<()> {
    let started = Stopwatch::start();
    let image = Image::agent()?;
    println!("{} ({:.1} s)", image.disk.display(), started.elapsed().as_secs_f32());
    Ok(())
}

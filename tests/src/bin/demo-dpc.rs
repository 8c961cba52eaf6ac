//! A minimal device policy controller: it prints the extras that it got, and keeps running.
//!
//! A real one would now fetch its own policy from its own server.

use std::{env, fs, io::Write as _, path::Path, thread, time::Duration};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    match env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join("unbox.extras")) {
        Some(path) => writeln!(out, "demo-dpc: started with extras {}", fs::read_to_string(path)?.trim())?,
        None => writeln!(out, "demo-dpc: started without extras")?,
    }
    if let Some(state) = env::var_os("STATE_DIRECTORY") {
        let starts = Path::new(&state).join("starts");
        writeln!(fs::File::options().create(true).append(true).open(starts)?, "started")?;
    }
    out.flush()?;
    loop {
        thread::sleep(Duration::from_hours(1));
    }
}

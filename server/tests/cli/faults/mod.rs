//! A server whose database is out of order, and its way back without help.

mod postgres;
mod sqlite;

use super::{Admin, Serving, code, error, text};
use serde_json::Value;
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

/// An answer over plain HTTP.
struct Answer {
    status: u16,
    text: String,
}

/// One request over plain HTTP.
fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Ok(Answer { status, text })
}

/// A server with a reseller, whose owner adds users over HTTP: the shortest request that writes.
struct Working {
    admin: Admin,
    serving: Serving,
    key: String,
    users: String,
}

impl Working {
    /// Serves from this database.
    fn on(database: &str) -> Self {
        let admin = Admin::founded_on(database);
        let reseller = admin.json(&["reseller", "create", "Resale"]);
        let company = ["account", "create", "--company", "Resale", "--service-account", "robot"];
        let account = admin.json(&[&company[..], &["--role", "owner"]].concat());
        let email = account["email"].as_str().unwrap();
        let key =
            admin.json(&["account", "api-key", "create", email])["api_key"].as_str().unwrap().to_owned();
        let users = format!("/v1/organisations/{}/users", reseller["id"].as_str().unwrap());
        let serving = admin.serve_with(&["--listen-plain", "127.0.0.1:0", "--listen-api", "127.0.0.1:0"]);
        Self { admin, serving, key, users }
    }

    fn address(&self, kind: &str) -> &str {
        self.serving.ready[kind][0].as_str().unwrap()
    }

    fn readiness(&self) -> Answer {
        ask(self.address("plain_addresses"), "GET", "/readyz", "", "").unwrap()
    }

    /// Adds a user.
    fn add(&self, name: &str) -> Answer {
        let headers = format!("X-Goog-Api-Key: {}\r\nContent-Type: application/json\r\n", self.key);
        let body = format!("{{\"email\": \"{name}@resale.example\", \"role\": \"ROLE_VIEWER\"}}");
        ask(self.address("api_addresses"), "POST", &self.users, &headers, &body).unwrap()
    }

    /// Waits until the server takes writes.
    fn wait_until_ready(&self) {
        for _ in 0..300 {
            if self.readiness().status == 200 {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("not ready: {}", self.readiness().text);
    }

    /// The names of all users.
    fn added(&self) -> Vec<String> {
        let listed = self.admin.json(&["account", "list", "--company", "Resale"]);
        let emails = listed["accounts"].as_array().unwrap().iter().map(|one| one["email"].as_str().unwrap());
        emails.filter_map(|email| email.strip_suffix("@resale.example").map(str::to_owned)).collect()
    }
}

/// A small file system, unmounted when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// One that holds so much, such as `4m`, with a directory in it that this user owns.
    fn small(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0777");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs", at.to_str().unwrap()]);
        Self(at.to_owned())
    }

    /// One in a file, which turns read-only when its disk fails.
    fn in_file(file: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        fs::File::create_new(file).unwrap().set_len(32 * 1024 * 1024).unwrap();
        let made = system("mkfs.ext4").args(["-q", "-F"]).arg(file).output().unwrap();
        assert!(made.status.success(), "mkfs.ext4: {}", error(&made));
        mount_file(file, at);
        Self(at.to_owned())
    }

    /// Has it turn read-only under whoever writes, as the kernel does after an error (ext4(5), `abort`).
    fn fail(&self) {
        mount(&["-o", "remount,abort", self.0.to_str().unwrap()]);
    }

    /// Mounts it again from its file, as after a repair.
    fn repair(&self, file: &Path) {
        assert!(system("umount").arg(&self.0).status().unwrap().success());
        mount_file(file, &self.0);
    }

    fn make_read_only(&self) {
        mount(&["-o", "remount,ro", self.0.to_str().unwrap()]);
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut ballast = fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        while ballast.write_all(&[7; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that failed has said so already.
        let _ = system("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount_file(file: &Path, at: &Path) {
    mount(&["-o", "loop,errors=remount-ro", file.to_str().unwrap(), at.to_str().unwrap()]);
}

fn mount(arguments: &[&str]) {
    let mounted = system("mount").args(arguments).output().unwrap();
    assert!(mounted.status.success(), "mount {arguments:?}: {}", error(&mounted));
}

fn system(program: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the one place of these tests that mounts")]
    Command::new(program)
}

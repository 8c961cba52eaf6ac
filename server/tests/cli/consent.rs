//! Commands that cannot be undone: nobody runs one by accident.

use super::{Admin, code, error, text};
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// A server with something of everything that can be ended for good.
struct Scene {
    admin: Admin,
    /// The commands, and the words that name the consequence.
    commands: Vec<(Vec<String>, &'static str)>,
}

impl Scene {
    fn set() -> Self {
        let admin = Admin::founded();
        admin.json(&["customer", "create", "Acme AG"]);
        admin.json(&["reseller", "create", "Boxes"]);
        admin.json(&["reseller", "link", "Boxes", "Acme AG"]);
        let claim = admin.json(&["claim", "add", "--customer", "Acme AG", "--service-tag", "7XK9Q13"]);
        let claim = claim["id"].as_str().unwrap().to_owned();
        let ticket = admin.json(&["device", "ticket", "--claim", &claim]);
        let device = ticket["device"].as_str().unwrap().to_owned();
        let token = admin.json(&["token", "create", "--customer", "Acme AG"])["id"].to_string();
        let account = ["account", "create", "--company", "Boxes", "--service-account", "robot"];
        let account = admin.json(&[&account[..], &["--role", "admin"]].concat())["email"].to_string();
        let account = account.trim_matches('"').to_owned();
        let key = admin.json(&["account", "api-key", "create", &account])["id"].to_string();
        admin.json(&["key", "rotate"]);
        admin.json(&["key", "rotate-device-ca"]);
        admin.json(&["key", "rotate-anchors"]);
        let key = key.trim_matches('"').to_owned();
        let token = token.trim_matches('"').to_owned();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let commands = vec![
            (words("key retire"), "one payload key"),
            (words("key retire-device-ca"), "Unbox Device CA"),
            (words("key retire-anchors"), "until it gets a new image"),
            (words(&format!("device deprovision {device}")), "for good"),
            (words(&format!("claim remove {claim}")), "This ends claim"),
            (words(&format!("token revoke {token}")), "it enrolls no device"),
            (words(&format!("account api-key revoke {key}")), "it opens nothing"),
            (words(&format!("account delete {account}")), "all of its keys"),
            ([words("reseller unlink Boxes"), vec!["Acme AG".to_owned()]].concat(), "to whom alone"),
            (words("reseller delete Boxes"), "with its accounts"),
        ];
        Self { admin, commands }
    }
}

#[test]
fn without_a_terminal_a_final_command_needs_a_yes() {
    let Scene { admin, commands } = Scene::set();
    for (command, consequence) in &commands {
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let told = admin.refused(&command, 1);
        assert!(told.contains(consequence) && told.contains("--yes"), "{command:?}: {told}");
        let done = admin.run(&[&command[..], &["--yes"]].concat());
        assert_eq!(code(&done), 0, "{command:?}: {}", error(&done));
    }
}

#[test]
fn a_dry_run_of_a_retirement_says_what_would_end() {
    let Scene { admin, commands } = Scene::set();
    for (command, consequence) in &commands[..3] {
        let before = admin.everything();
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let said = admin.run(&[&command[..], &["--dry-run"]].concat());
        assert!(code(&said) == 0 && text(&said).contains(consequence), "{command:?}: {}", text(&said));
        assert_eq!(admin.everything(), before, "{command:?}");
    }
}

#[test]
fn at_a_terminal_a_final_command_asks() {
    let Scene { admin, .. } = Scene::set();
    let answered = |answer: &str| {
        let program = env!("CARGO_BIN_EXE_unbox-server");
        let line = format!("{program} --dir {} key retire", admin.path("").display());
        #[expect(clippy::disallowed_methods, reason = "the one place of these tests that needs a terminal")]
        let mut terminal = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        terminal.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        terminal.wait_with_output().unwrap()
    };
    let before = admin.everything();
    let refused = answered("no\n");
    assert!(code(&refused) == 1 && text(&refused).contains("Go on? Type yes: "), "{}", text(&refused));
    assert_eq!(admin.everything(), before);
    let done = answered("yes\n");
    assert_eq!(code(&done), 0, "{}", text(&done));
    assert_eq!(admin.json(&["key", "list"])["payload_keys"].as_array().map(Vec::len), Some(1));
}

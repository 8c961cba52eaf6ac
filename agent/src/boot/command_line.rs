//! Settings on the kernel command line: `unbox.server=` and `unbox.token=`.

use super::Fragment;
use unbox_common::secret::Secret;

/// Reads the words of a command line (kernel-command-line(7)); the last word with a given name wins.
#[must_use]
pub(super) fn fragment(line: &str) -> Fragment {
    let mut fragment = Fragment::default();
    for word in line.split_ascii_whitespace() {
        let word = word.trim_matches('"');
        match word.split_once('=') {
            Some(("unbox.server", value)) => fragment.server = Some(unquote(value)),
            Some(("unbox.token", value)) => fragment.token = Some(Secret::new(unquote(value))),
            _ => {}
        }
    }
    fragment
}

fn unquote(value: &str) -> String {
    value.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_among_others() {
        let found = fragment(
            "root=/dev/nvme0n1 quiet unbox.server=https://a.example unbox.serverx=no \
             unbox.server=\"https://b.example\" \"unbox.token=ppt_1\" unbox.token\n",
        );
        assert_eq!(found.server.as_deref(), Some("https://b.example"));
        assert_eq!(found.token, Some(Secret::new("ppt_1".to_owned())));
        assert_eq!(fragment(""), Fragment::default());
    }
}

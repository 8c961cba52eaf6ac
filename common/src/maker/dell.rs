//! Dell's service tag and its express service code: the same number, once in base 36 for the label, and
//! once in base 10 for telephones.

/// Returns the express service code of a service tag: `7XK9Q13` is 17,266,906,119.
///
/// `None` if the text is not a service tag of 7 (or, before 1998, 5) letters and digits.
#[must_use]
pub fn express_service_code(tag: &str) -> Option<u64> {
    let tag = tag.trim();
    let alphanumeric = tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if alphanumeric && matches!(tag.len(), 5 | 7) { u64::from_str_radix(tag, 36).ok() } else { None }
}

/// Returns the service tag of an express service code, whose digits may stand in groups.
///
/// A code does not say how long its tag is: one that fits into 5 characters is taken for a tag from
/// before 1998, because no tag begins with two zeros. `None` if the text is not such a code.
#[must_use]
pub fn service_tag(express_service_code: &str) -> Option<String> {
    let grouped = |byte: &u8| matches!(byte, b' ' | b'-');
    let digits: Vec<u8> = express_service_code.trim().bytes().filter(|byte| !grouped(byte)).collect();
    if digits.is_empty() || digits.len() > 11 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u64::from(digit - b'0'));
    let length = if code < 36_u64.pow(5) { 5 } else { 7 };
    let digit = |place: u32| u8::try_from(code / 36_u64.pow(place) % 36).ok();
    let letter =
        |digit: u8| if digit < 10 { char::from(b'0' + digit) } else { char::from(b'A' + digit - 10) };
    let fits = code < 36_u64.pow(length);
    fits.then(|| (0..length).rev().filter_map(digit).map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tag_and_code_are_one_number() {
        for (tag, code) in [("7XK9Q13", "172 669 061 19"), ("ZZZZZZZ", "78364164095"), ("1AB2C", "2160516")] {
            let digits = code.replace(' ', "");
            assert_eq!(express_service_code(tag).map(|code| code.to_string()), Some(digits), "{tag}");
            assert_eq!(service_tag(code).as_deref(), Some(tag), "{code}");
        }
        for text in ["7XK9Q1", "7XK9Q-3", "+7XK9Q1", "", "7XK9Q13A"] {
            assert_eq!(express_service_code(text), None, "{text}");
        }
        for text in ["", "-", "78364164096", "99999999999", "123456789012", "+1234567890", "1234567A90"] {
            assert_eq!(service_tag(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_tag_comes_back_from_its_code(tag in "[1-9A-Z][0-9A-Z]{4}|[1-9A-Z][0-9A-Z]{6}") {
            let code = express_service_code(&tag).unwrap().to_string();
            prop_assert_eq!(service_tag(&code), Some(tag));
        }

        #[test]
        fn every_code_comes_back_from_its_tag(code in 0..36_u64.pow(7)) {
            let tag = service_tag(&code.to_string()).unwrap();
            prop_assert_eq!(express_service_code(&tag), Some(code));
        }
    }
}

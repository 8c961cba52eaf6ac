//! Writes `RULES.md`, the rules about identifiers as people read them: `cargo run -p unbox-common --example
//! rules`. Every line comes out of the code that decides, so a rule is written down once.

use std::{collections::BTreeMap, error::Error, fmt::Write as _, fs, path::Path};
use unbox_common::{
    identity::{Identifier, IdentifierKind, placeholders},
    label::{Scan, parse},
    maker::{SERIAL_FORMS, dell, lenovo},
    models::{CertifiedId, Models},
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("RULES.md");
    #[expect(clippy::disallowed_methods, reason = "a tool of developers, which a repository keeps whole")]
    fs::write(path, document()?)?;
    Ok(())
}

/// The whole document.
pub fn document() -> Result<String, Box<dyn Error>> {
    let mut text = String::from(
        "# Rules about identifiers\n\n\
         Written by `cargo run -p unbox-common --example rules` out of the code that decides; a test holds it \
         against that code. Device, station and server have the same.\n\n",
    );
    forms(&mut text)?;
    makers(&mut text)?;
    certified(&mut text)?;
    labels(&mut text)?;
    placeholder_table(&mut text)?;
    Ok(text)
}

/// The rules as they are written, for each kind.
const WRITTEN: [(IdentifierKind, &[&str]); 11] = [
    (IdentifierKind::SerialNumber, &[" pf0abcde ", "Default string", "PF0ÄBC"]),
    (IdentifierKind::ServiceTag, &["7xk9q13", "7XK9Q1"]),
    (
        IdentifierKind::MacAddress,
        &["00-16-3E-AB-CD-01", "00163EABCD01", "52:54:00:ab:cd:01", "01:00:5e:00:00:01", "00:00:00:00:00:00"],
    ),
    (IdentifierKind::Imei, &["49-015420-323751-8", "49015420323751", "490154203237517", "4901542032375185"]),
    (
        IdentifierKind::Meid,
        &[
            "AF 012345 0ABCDE",
            "AF0123450ABCDEC",
            "29360 87365 0070 3710 0",
            "AF0123450ABCDED",
            "490154203237518",
        ],
    ),
    (
        IdentifierKind::SystemUuid,
        &["4C4C454400584B108039B7C04F513133", "03000200-0400-0500-0006-000700080009"],
    ),
    (IdentifierKind::CertifiedDeviceId, &["qx-7y3k9m2w", "A1;B"]),
    (IdentifierKind::DeviceKey, &["e3b0"]),
    (IdentifierKind::Manufacturer, &["Dell  Inc.", "System manufacturer"]),
    (IdentifierKind::Model, &["Chromebook Lenovo 14e 2e ge\u{301}ne\u{301}ration", "All Series"]),
    (IdentifierKind::Sku, &["0CB5"]),
];

fn forms(text: &mut String) -> Result<(), Box<dyn Error>> {
    text.push_str("## One form of each kind\n\n| kind | written | becomes |\n|---|---|---|\n");
    for (kind, written) in WRITTEN {
        for raw in written {
            let read = match Identifier::parse(kind, raw) {
                Ok(identifier) => format!("`{}`", identifier.value()),
                Err(refused) => format!("refused: it {}", refused.rule),
            };
            writeln!(text, "| {kind} | `{raw}` | {read} |")?;
        }
    }
    text.push('\n');
    Ok(())
}

fn makers(text: &mut String) -> Result<(), Box<dyn Error>> {
    text.push_str("## Makers\n\n| maker | its usual serial number |\n|---|---|\n");
    for form in SERIAL_FORMS {
        writeln!(text, "| {} | {} |", form.maker, form.words)?;
    }
    text.push_str("\n| what | written | says |\n|---|---|---|\n");
    for string in ["1S20QES0XX00PF0ABCDE", "1S3680WZQPF0ABCD"] {
        let read: lenovo::MachineString = string.parse()?;
        let (machine, serial) = (read.mtm(), read.serial());
        writeln!(
            text,
            "| Lenovo string | `{string}` | machine type and model `{machine}`, serial number `{serial}` |"
        )?;
    }
    for string in ["1SC1KS00163E000001", "1SC1VM00163E000001"] {
        let read: lenovo::OriginString = string.parse()?;
        let (origin, mac) = (read.origin(), read.mac());
        writeln!(text, "| Lenovo string of origin | `{string}` | made in {origin:?}, {mac} |")?;
    }
    let code = dell::express_service_code("7XK9Q13").unwrap_or_default();
    let tag = dell::service_tag(&code.to_string()).unwrap_or_default();
    writeln!(text, "| Dell express service code | `{code}` | service tag `{tag}` |\n")?;
    Ok(())
}

fn certified(text: &mut String) -> Result<(), Box<dyn Error>> {
    let mut rows: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for model in Models::built_in().iter() {
        let row = rows.entry((&model.brand, model.certified_id.name())).or_default();
        row.0 += 1;
        row.1 += usize::from(model.manufactured_from.is_some());
    }
    let total = Models::built_in().iter().len();
    writeln!(
        text,
        "## Certified device IDs\n\n{total} models, one row each in `data/chromeos-models.csv`:\n"
    )?;
    text.push_str("| brand | certified device ID | models | of which from a day of manufacture on |\n|---|---|---|---|\n");
    for ((brand, form), (models, dated)) in rows {
        writeln!(text, "| {brand} | {form} | {models} | {dated} |")?;
    }
    text.push_str("\n| certified device ID | is |\n|---|---|\n");
    for form in CertifiedId::ALL {
        writeln!(text, "| {} | {} |", form.name(), form.words())?;
    }
    text.push_str("\n| footnote | models | says |\n|---|---|---|\n");
    let mut footnotes: BTreeMap<u8, (Vec<&str>, &str)> = BTreeMap::new();
    for model in Models::built_in().iter() {
        if let Some(footnote) = model.footnote {
            let row = footnotes.entry(footnote.number()).or_insert_with(|| (Vec::new(), footnote.words()));
            row.0.push(&model.name);
        }
    }
    for (number, (models, words)) in footnotes {
        writeln!(text, "| {number} | {} | {words} |", models.join("; "))?;
    }
    text.push('\n');
    Ok(())
}

/// Scans, and in words what is shown of the characters that cannot be seen.
const SCANS: [&str; 17] = [
    "PF0ABCDE",
    "SPF0ABCDE",
    "1S20QES0XX00PF0ABCDE",
    "1SC1KS00163E000001",
    "1P20QES0XX00",
    "23S00163EABCD01",
    "22S490154203237518",
    "00163EABCD01",
    "490154203237518",
    "17266906119",
    "52:54:00:ab:cd:01",
    "]C1010950600013435221PF0ABCDE\u{1d}11260131",
    "(01)09506000134352(21)PF0ABCDE",
    "https://id.gs1.org/01/09506000134352/21/PF0ABCDE",
    "[)>\u{1e}06\u{1d}SPF0ABCDE\u{1d}23S00163EABCD01\u{1e}\u{4}",
    "SN: PF0ABCDE; MAC: 00:16:3e:ab:cd:01",
    "]C1010950600013435321PF0ABCDE",
];

fn labels(text: &mut String) -> Result<(), Box<dyn Error>> {
    text.push_str(
        "## Scanned labels\n\nWhere a code can be meant in several ways, the machine decides which.\n\n\
         | scanned | fields | what of it names a device |\n|---|---|---|\n",
    );
    for scan in SCANS {
        let shown = scan.replace('\u{1d}', "<GS>").replace('\u{1e}', "<RS>").replace('\u{4}', "<EOT>");
        match parse(scan.as_bytes()) {
            Ok(read) => writeln!(text, "| `{shown}` | {} | {} |", fields(&read), ways(&read))?,
            Err(refused) => writeln!(text, "| `{shown}` | | refused: {refused} |")?,
        }
    }
    text.push('\n');
    Ok(())
}

fn fields(scan: &Scan) -> String {
    let field = |field: &unbox_common::label::Field| format!("{} `{}`", field.name, field.value);
    scan.fields().iter().map(field).collect::<Vec<_>>().join(", ")
}

fn ways(scan: &Scan) -> String {
    let together = |way: &Vec<Identifier>| match way.as_slice() {
        [] => "nothing".to_owned(),
        way => way.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
    };
    let readings = scan.identifiers().iter().map(|reading| match &reading.refused {
        Some(refused) => format!("refused: {refused}"),
        None => reading.ways.iter().map(together).collect::<Vec<_>>().join("; or "),
    });
    readings.collect::<Vec<_>>().join(", ")
}

fn placeholder_table(text: &mut String) -> Result<(), Box<dyn Error>> {
    text.push_str(
        "## Placeholders\n\nWhat makers leave in firmware, compared trimmed and in small letters.\n\n\
         | is never | values |\n|---|---|\n",
    );
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for placeholder in placeholders() {
        match rows.iter_mut().find(|(of, _)| *of == placeholder.of) {
            Some((_, values)) => values.push(placeholder.value),
            None => rows.push((placeholder.of, vec![placeholder.value])),
        }
    }
    for (of, values) in rows {
        writeln!(text, "| {of} | {} |", values.join(", "))?;
    }
    Ok(())
}

//! The printable label of a unit: its identifiers as Code 128, and all of them as one QR code.
//!
//! The codes contain the texts that [`unbox_common::label::parse`] reads back, so a scan of the label
//! gives the same identifiers. SVG is drawn here; for ZPL, the printer draws the codes.

use barcoders::sym::code128::Code128;
use qrcode::{Color, EcLevel, QrCode};
use std::fmt::Write as _;
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind},
    label::{code_128, qr_code},
};

use super::wording::kind_name;

/// The label's size in millimetres.
const WIDTH_MM: f64 = 76.0;
const HEIGHT_MM: f64 = 38.0;
/// The white margin, in millimetres.
const MARGIN_MM: f64 = 3.0;
/// The side of the QR code, with its quiet zone.
const QR_MM: f64 = 22.0;
/// White modules around a QR code (ISO/IEC 18004) and beside a Code 128 (ISO/IEC 15417).
const QR_QUIET: usize = 4;
const BAR_QUIET: usize = 10;
/// The narrowest bar that industrial scanners can read, in millimetres.
const NARROWEST_BAR_MM: f64 = 0.17;
/// The most bar codes, one below the other: side by side, they would be confused.
const MAX_BARS: usize = 3;
/// Dots per millimetre of the printers that most factories have: 203 dpi.
const DOTS_PER_MM: f64 = 8.0;

/// The kinds that get a bar code of their own, in order of preference.
const BAR_KINDS: [IdentifierKind; 5] = [
    IdentifierKind::ServiceTag,
    IdentifierKind::SerialNumber,
    IdentifierKind::CertifiedDeviceId,
    IdentifierKind::Imei,
    IdentifierKind::MacAddress,
];

/// The reason why a unit gets no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrintError {
    /// The unit has no identifier to print.
    #[error("no identifier of this unit can be printed as a bar code")]
    Nothing,
    /// A value does not fit into a bar code.
    #[error("the {0} does not fit into a bar code of this label")]
    DoesNotFit(&'static str),
    /// The identifiers together do not fit into the QR code.
    #[error("the identifiers do not fit into a QR code")]
    TooMuch,
}

/// The content of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitLabel {
    heading: String,
    bars: Vec<Bar>,
    qr: String,
}

/// One bar code.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bar {
    caption: String,
    value: String,
    text: String,
}

impl UnitLabel {
    /// Makes the label of a unit.
    ///
    /// # Errors
    /// [`PrintError::Nothing`].
    pub fn new(identity: &HardwareIdentity) -> Result<Self, PrintError> {
        let first = |kind| identity.of_kind(kind).next();
        let bar = |one: &Identifier| {
            let caption = format!("{}: {}", kind_name(one.kind()), one.value());
            Some(Bar { caption, value: one.value().to_owned(), text: code_128(one)? })
        };
        // The serial number of a Dell is its service tag, so it is printed only once.
        let tagged = first(IdentifierKind::ServiceTag).is_some();
        let wanted = BAR_KINDS.into_iter().filter(|kind| !(tagged && *kind == IdentifierKind::SerialNumber));
        let bars: Vec<Bar> = wanted.filter_map(first).filter_map(bar).take(MAX_BARS).collect();
        if bars.is_empty() {
            return Err(PrintError::Nothing);
        }
        let names = [IdentifierKind::Manufacturer, IdentifierKind::Model].into_iter().filter_map(first);
        let heading = names.map(Identifier::value).collect::<Vec<_>>().join(" ");
        let keys = [IdentifierKind::DeviceKey, IdentifierKind::TpmKey];
        let all = identity.observations().iter().map(|one| &one.identifier);
        let qr = qr_code(all.filter(|one| !keys.contains(&one.kind())));
        Ok(Self { heading, bars, qr })
    }

    /// Returns the first value on the label.
    #[must_use]
    pub fn first_value(&self) -> &str {
        self.bars.first().map_or("", |bar| &bar.value)
    }

    /// Draws the label as SVG, in millimetres.
    ///
    /// # Errors
    /// [`PrintError::DoesNotFit`] and [`PrintError::TooMuch`].
    pub fn svg(&self) -> Result<String, PrintError> {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_MM}mm\" height=\"{HEIGHT_MM}mm\" \
             viewBox=\"0 0 {WIDTH_MM} {HEIGHT_MM}\" font-family=\"sans-serif\" font-size=\"2.6\">\n\
             <rect width=\"{WIDTH_MM}\" height=\"{HEIGHT_MM}\" fill=\"#fff\"/>\n"
        );
        let heading_y = MARGIN_MM + 2.4;
        // Writing to a String cannot fail.
        let _ =
            writeln!(svg, "<text x=\"{MARGIN_MM}\" y=\"{heading_y}\">{}</text>", escape_xml(&self.heading));
        let qr_at = (WIDTH_MM - MARGIN_MM - QR_MM, MARGIN_MM + 3.0);
        let _ = writeln!(svg, "<path d=\"{}\"/>", qr_path(&self.qr, qr_at)?);
        for (bar, top) in self.bars.iter().zip(bar_tops()) {
            let _ = writeln!(svg, "<path d=\"{}\"/>", bar_path(bar, top)?);
            let caption_y = top + BAR_MM + 2.6;
            let _ = writeln!(
                svg,
                "<text x=\"{MARGIN_MM}\" y=\"{caption_y:.2}\">{}</text>",
                escape_xml(&bar.caption)
            );
        }
        svg.push_str("</svg>\n");
        Ok(svg)
    }

    /// Formats the label in the language of Zebra's printers (ZPL II).
    #[must_use]
    pub fn zpl(&self) -> String {
        let dots = |mm: f64| (mm * DOTS_PER_MM).round();
        let mut zpl = format!("^XA\n^CI28\n^PW{}\n^LL{}\n", dots(WIDTH_MM), dots(HEIGHT_MM));
        let left = dots(MARGIN_MM);
        let _ =
            writeln!(zpl, "^FO{left},{}^A0N,22,22^FH^FD{}^FS", dots(MARGIN_MM), escape_zpl(&self.heading));
        for (bar, top) in self.bars.iter().zip(bar_tops()) {
            let (top, height) = (dots(top), dots(BAR_MM));
            let _ =
                writeln!(zpl, "^FO{left},{top}^BY2^BCN,{height},N,N,N,A^FH^FD{}^FS", escape_zpl(&bar.text));
            let below = top + height + 4.0;
            let _ = writeln!(zpl, "^FO{left},{below}^A0N,20,20^FH^FD{}^FS", escape_zpl(&bar.caption));
        }
        let qr_left = dots(WIDTH_MM - MARGIN_MM - QR_MM);
        let _ = writeln!(
            zpl,
            "^FO{qr_left},{}^BQN,2,4^FH^FDMA,{}^FS",
            dots(MARGIN_MM + 3.0),
            escape_zpl(&self.qr)
        );
        zpl.push_str("^XZ\n");
        zpl
    }
}

/// The height of a bar code, in millimetres.
const BAR_MM: f64 = 6.0;

/// Returns the top of each bar code, in millimetres.
fn bar_tops() -> impl Iterator<Item = f64> {
    (0..u8::MAX).map(|at| MARGIN_MM + 4.0 + f64::from(at) * (BAR_MM + 4.2))
}

/// Draws the dark squares of a QR code, row by row.
fn qr_path(text: &str, (left, top): (f64, f64)) -> Result<String, PrintError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(|_| PrintError::TooMuch)?;
    let width = code.width();
    let module = QR_MM / to_float(width + 2 * QR_QUIET);
    let mut path = String::new();
    for (row, colors) in code.to_colors().chunks(width).enumerate() {
        let y = top + to_float(row + QR_QUIET) * module;
        for (from, length) in dark_runs(colors.iter().map(|color| *color == Color::Dark)) {
            let x = left + to_float(from + QR_QUIET) * module;
            let _ = write!(
                path,
                "M{x:.3} {y:.3}h{:.3}v{module:.3}h-{:.3}z",
                to_float(length) * module,
                to_float(length) * module
            );
        }
    }
    Ok(path)
}

/// Draws the bars of a Code 128, as wide as the room beside the QR code allows.
fn bar_path(bar: &Bar, top: f64) -> Result<String, PrintError> {
    let does_not_fit = || PrintError::DoesNotFit("value");
    // Character set B, in the notation of the encoder.
    let code = Code128::new(format!("\u{181}{}", bar.text)).map_err(|_| does_not_fit())?;
    let bars = code.encode();
    let room = WIDTH_MM - 3.0 * MARGIN_MM - QR_MM;
    let module = (room / to_float(bars.len() + BAR_QUIET)).min(0.33);
    if module < NARROWEST_BAR_MM {
        return Err(does_not_fit());
    }
    let mut path = String::new();
    for (from, length) in dark_runs(bars.iter().map(|bar| *bar == 1)) {
        let (x, width) = (MARGIN_MM + to_float(from) * module, to_float(length) * module);
        let _ = write!(path, "M{x:.3} {top:.3}h{width:.3}v{BAR_MM}h-{width:.3}z");
    }
    Ok(path)
}

/// Returns the runs of dark modules: the start of each, and its length.
fn dark_runs(modules: impl Iterator<Item = bool>) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, _) in modules.enumerate().filter(|(_, dark)| *dark) {
        match runs.last_mut() {
            Some((from, length)) if *from + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    runs
}

/// Converts a number of modules, far below the largest integer that a float holds exactly.
fn to_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Escapes a field of ZPL: command and escape characters become hexadecimal.
fn escape_zpl(text: &str) -> String {
    text.chars().fold(String::new(), |mut field, char| {
        let _ = match char {
            '^' | '~' | '_' | '\\' | '\n' => write!(field, "_{:02X}", u32::from(char)),
            char => write!(field, "{char}"),
        };
        field
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber};
    use unbox_common::{
        identity::{Observed, Source},
        label,
    };

    fn identity(of: &[(IdentifierKind, &str)]) -> HardwareIdentity {
        HardwareIdentity::new(of.iter().map(|(kind, value)| Observed {
            identifier: Identifier::parse(*kind, value).unwrap(),
            source: Source::Smbios,
        }))
        .unwrap()
    }

    fn unit() -> HardwareIdentity {
        identity(&[
            (SerialNumber, "PF0ABCDE"),
            (Manufacturer, "Acme & Sons <Ltd>"),
            (Model, "Gate^way_3"),
            (MacAddress, "00:16:3e:00:00:01"),
        ])
    }

    #[test]
    fn what_is_printed_is_what_is_read_back() {
        let unit = unit();
        let label = UnitLabel::new(&unit).unwrap();
        for text in label.bars.iter().map(|bar| &bar.text).chain([&label.qr]) {
            let scan = label::parse(text.as_bytes()).unwrap();
            let fits = scan.identifiers().iter().any(|reading| {
                reading.ways.iter().any(|way| !way.is_empty() && way.iter().all(|one| unit.shows(one)))
            });
            assert!(fits, "{text}: {scan:?}");
        }
    }

    #[test]
    fn a_scanner_reads_the_qr_code_of_the_picture() {
        let label = UnitLabel::new(&unit()).unwrap();
        let code = QrCode::with_error_correction_level(&label.qr, EcLevel::M).unwrap();
        let (width, colors) = (code.width(), code.to_colors());
        let scale = 4;
        let side = (width + 2 * QR_QUIET) * scale;
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
            let at = |pixel: usize| (pixel / scale).checked_sub(QR_QUIET).filter(|at| *at < width);
            let dark = at(x).zip(at(y)).is_some_and(|(x, y)| colors[y * width + x] == Color::Dark);
            if dark { 0 } else { 255 }
        });
        let (_, read) = image.detect_grids()[0].decode().unwrap();
        assert_eq!(read, label.qr);
    }

    #[test]
    fn the_picture_is_xml_with_a_code_for_each_identifier() {
        let svg = UnitLabel::new(&unit()).unwrap().svg().unwrap();
        assert_eq!(svg.matches("<path").count(), 3);
        assert!(svg.contains("Acme &amp; Sons &lt;Ltd&gt; Gate^way_3"), "{svg}");
        assert!(svg.contains("serial number: PF0ABCDE"), "{svg}");
    }

    #[test]
    fn a_code_128_begins_and_ends_as_the_standard_says() {
        let bar = Bar { caption: String::new(), value: String::new(), text: "SPF0ABCDE".to_owned() };
        let bars = Code128::new(format!("\u{181}{}", bar.text)).unwrap().encode();
        let text: String = bars.iter().map(|bar| if *bar == 1 { '1' } else { '0' }).collect();
        // Start B, nine characters and the check character have 11 modules each, and stop has 13.
        assert_eq!(text.len(), 11 * 11 + 13);
        assert!(text.starts_with("11010010000") && text.ends_with("1100011101011"), "{text}");
        assert!(bar_path(&bar, 0.0).is_ok());
    }

    #[test]
    fn no_value_is_a_command_to_the_printer() {
        let zpl = UnitLabel::new(&unit()).unwrap().zpl();
        assert!(zpl.contains("Gate_5Eway_5F3") && !zpl.contains("Gate^way"), "{zpl}");
        assert!(zpl.starts_with("^XA\n") && zpl.ends_with("^XZ\n"), "{zpl}");
        assert!(zpl.contains("^FDSPF0ABCDE^FS"), "{zpl}");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_not_cut() {
        let long = "A".repeat(79) + "B";
        let wide = identity(&[(SerialNumber, &long), (Manufacturer, "Acme"), (Model, "G3")]);
        assert_eq!(UnitLabel::new(&wide).unwrap().svg(), Err(PrintError::DoesNotFit("value")));
        let nothing = identity(&[(IdentifierKind::BoardSerial, "B1")]);
        assert_eq!(UnitLabel::new(&nothing), Err(PrintError::Nothing));
    }
}

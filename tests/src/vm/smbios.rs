//! The hardware identity of a virtual machine: its firmware's SMBIOS tables, as QEMU arguments.

use std::fmt::Write as _;

/// The contents of a machine's SMBIOS tables. A field that is `None` keeps QEMU's own value.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are named as in the SMBIOS specification, tables 1, 2 and 3")]
pub struct Smbios {
    pub manufacturer: Option<String>,
    pub product: Option<String>,
    pub version: Option<String>,
    pub serial: Option<String>,
    pub uuid: Option<String>,
    pub sku: Option<String>,
    pub family: Option<String>,
    pub board_manufacturer: Option<String>,
    pub board_product: Option<String>,
    pub board_serial: Option<String>,
    pub board_asset_tag: Option<String>,
    pub chassis_manufacturer: Option<String>,
    pub chassis_serial: Option<String>,
    pub chassis_asset_tag: Option<String>,
    /// The free strings of table 11.
    pub oem_strings: Vec<String>,
}

impl Smbios {
    /// Makes a machine of a maker, in the words of its label: the set of identifiers that most claims
    /// register.
    #[must_use]
    pub fn from_label(manufacturer: &str, product: &str, serial: &str) -> Self {
        Self {
            manufacturer: Some(manufacturer.to_owned()),
            product: Some(product.to_owned()),
            serial: Some(serial.to_owned()),
            ..Self::default()
        }
    }

    /// Returns the same machine after a repair: with another main board that has the old serial number
    /// programmed into it, as makers' service does.
    #[must_use]
    pub fn with_board(mut self, serial: &str, uuid: &str) -> Self {
        self.board_serial = Some(serial.to_owned());
        self.uuid = Some(uuid.to_owned());
        self
    }

    /// Makes a board that left the factory without a maker's data: every value is a placeholder that occurs
    /// in practice.
    #[must_use]
    pub fn placeholders() -> Self {
        let some = |text: &str| Some(text.to_owned());
        Self {
            manufacturer: some("To Be Filled By O.E.M."),
            product: some("System Product Name"),
            version: some("System Version"),
            serial: some("Default string"),
            uuid: some("03000200-0400-0500-0006-000700080009"),
            sku: some("SKU"),
            board_manufacturer: some("Default string"),
            board_product: some("Default string"),
            board_serial: some("Base Board Serial Number"),
            chassis_serial: some("0123456789"),
            ..Self::default()
        }
    }

    /// Returns the arguments that give a QEMU machine this identity.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let system = [
            ("manufacturer", &self.manufacturer),
            ("product", &self.product),
            ("version", &self.version),
            ("serial", &self.serial),
            ("uuid", &self.uuid),
            ("sku", &self.sku),
            ("family", &self.family),
        ];
        let board = [
            ("manufacturer", &self.board_manufacturer),
            ("product", &self.board_product),
            ("serial", &self.board_serial),
            ("asset", &self.board_asset_tag),
        ];
        let chassis = [
            ("manufacturer", &self.chassis_manufacturer),
            ("serial", &self.chassis_serial),
            ("asset", &self.chassis_asset_tag),
        ];
        let mut arguments = Vec::new();
        for value in [table(1, &system), table(2, &board), table(3, &chassis)].into_iter().flatten() {
            arguments.extend(["-smbios".to_owned(), value]);
        }
        for string in &self.oem_strings {
            arguments.extend(oem_string(string));
        }
        arguments
    }
}

/// Returns the arguments that add one free string to table 11, where systemd also looks for credentials.
#[must_use]
pub(super) fn oem_string(string: &str) -> [String; 2] {
    ["-smbios".to_owned(), format!("type=11,value={}", escape_commas(string))]
}

/// Escapes a value for QEMU's option syntax, where a literal comma is written twice.
#[must_use]
pub(super) fn escape_commas(value: &str) -> String {
    value.replace(',', ",,")
}

fn table(number: u8, fields: &[(&str, &Option<String>)]) -> Option<String> {
    let mut text = format!("type={number}");
    let mut filled = false;
    for (name, value) in fields {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(text, ",{name}={}", escape_commas(value));
            filled = true;
        }
    }
    filled.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_value_is_doubled() {
        let smbios = Smbios::from_label("Acme, Inc.", "Edge 1", "A,,1");
        assert_eq!(
            smbios.arguments(),
            ["-smbios", "type=1,manufacturer=Acme,, Inc.,product=Edge 1,serial=A,,,,1"]
        );
    }

    #[test]
    fn a_table_without_values_is_left_to_qemu() {
        let smbios = Smbios { board_serial: Some("B1".to_owned()), ..Smbios::default() };
        assert_eq!(smbios.arguments(), ["-smbios", "type=2,serial=B1"]);
        assert!(Smbios::default().arguments().is_empty());
    }

    #[test]
    fn every_oem_string_is_an_argument_of_its_own() {
        let smbios = Smbios { oem_strings: vec!["one".to_owned(), "two,2".to_owned()], ..Smbios::default() };
        assert_eq!(smbios.arguments(), ["-smbios", "type=11,value=one", "-smbios", "type=11,value=two,,2"]);
    }
}
